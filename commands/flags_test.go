package commands

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// parse returns the options of a command line, without running the command.
func parse(t *testing.T, args ...string) (options any, err error) {
	t.Helper()
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}, parsed: func(o any) { options = o }}
	err = p.run(t.Context(), p.app(), append([]string{"wstun"}, args...))
	return options, err
}

// parseEndpoint returns the endpoint options of serve, and the endpoint with them.
func parseEndpoint(t *testing.T, args ...string) (*endpoint.Options, *endpoint.Endpoint, error) {
	t.Helper()
	options, err := parse(t, append([]string{"serve"}, args...)...)
	if err != nil {
		return nil, nil, err
	}
	o := &options.(*serveOptions).endpoint
	e, err := endpoint.New(o, wsmux.Server)
	return o, e, err
}

func TestEndpointDefaults(t *testing.T) {
	o, e, err := parseEndpoint(t)
	if err != nil {
		t.Fatal(err)
	}
	if e.URL != "" || o.Accept != "127.0.0.1:7070" {
		t.Errorf("URL %q, accept %q", e.URL, o.Accept)
	}
	options, err := parse(t, "dial")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := endpoint.New(&options.(*dialOptions).endpoint, wsmux.Client); err != nil || e.URL != "ws://127.0.0.1:7070/" {
		t.Errorf("dial: %+v, %v, want the default URL", e, err)
	}
	session := e.DialOptions(slog.New(slog.DiscardHandler)).Session
	if session.Role != wsmux.Server || session.Window != 0 || session.PingInterval != 30*time.Second || session.PingTimeout != 90*time.Second {
		t.Errorf("session options %+v", session)
	}
	if o.MaxRetries != -1 || o.MaxRetryInterval != 30*time.Second || e.DrainTimeout != 30*time.Second || o.MaxSessions != 1024 {
		t.Errorf("retries %d, interval %v, drain %v, sessions %d", o.MaxRetries, o.MaxRetryInterval, e.DrainTimeout, o.MaxSessions)
	}
}

func TestEndpointDialing(t *testing.T) {
	t.Setenv("WSTUN_TOKEN", "s3cret-token")
	_, e, err := parseEndpoint(t, "-H", "Accept: a, b", "-H", "X-Two: 2", "-H", "X-Two: 3",
		"--yamux-role", "client", "--window", "512KiB", "--ping-interval", "0", "--connect-timeout", "0",
		"--subprotocol", "a", "--subprotocol", "b", "wss://worker/v1/ws/sync")
	if err != nil {
		t.Fatal(err)
	}
	opts := e.DialOptions(slog.New(slog.DiscardHandler))
	if got := opts.Header.Values("Accept"); !slices.Equal(got, []string{"a, b"}) {
		t.Errorf("Accept = %q, want one header", got)
	}
	if got := opts.Header.Values("X-Two"); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("X-Two = %q", got)
	}
	if got := opts.Header.Get("Authorization"); got != "Bearer s3cret-token" {
		t.Errorf("Authorization = %q", got)
	}
	if got := opts.Subprotocols; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("subprotocols = %q", got)
	}
	if s := opts.Session; s.Role != wsmux.Client || s.Window != 512<<10 || s.PingInterval >= 0 || opts.ConnectTimeout >= 0 {
		t.Errorf("options %+v", opts)
	}
}

// --name and --to change the URL, the subprotocol and the header of the handshake.
func TestEndpointWorker(t *testing.T) {
	_, e, err := parseEndpoint(t, "--name", "w-1", "wss://user:pw@relay/base/?q=1")
	if err != nil {
		t.Fatal(err)
	}
	opts := e.DialOptions(slog.New(slog.DiscardHandler))
	if want := "wss://user:pw@relay/base/v1/worker/w-1?q=1"; e.URL != want || !slices.Equal(opts.Subprotocols, []string{"wstun.serve.v1"}) {
		t.Errorf("URL %s, subprotocols %q, want %s", e.URL, opts.Subprotocols, want)
	}
	if id := opts.Header.Get("Wstun-Instance"); len(id) != 32 {
		t.Errorf("Wstun-Instance is %q, want 32 digits", id)
	}
	options, err := parse(t, "dial", "--to", "w-1", "wss://relay")
	if err != nil {
		t.Fatal(err)
	}
	if e, err = endpoint.New(&options.(*dialOptions).endpoint, wsmux.Client); err != nil || e.URL != "wss://relay/v1/worker/w-1" {
		t.Errorf("dial: %v, %v", e, err)
	}
	for _, args := range [][]string{
		{"--name", "w-1"},
		{"--name", "w.1", "ws://relay/"},
		{"--name", "W", "ws://relay/"},
		{"--name", "w-1", "ws://relay/v1/worker/w-1"},
		{"--name", "w-1", "--subprotocol", "a", "ws://relay/"},
		{"--name", "w-1", "--accept", ":1"},
	} {
		if _, _, err := parseEndpoint(t, args...); exitStatus(err) != exitUsage {
			t.Errorf("serve %q: %v, want a usage error", args, err)
		}
	}
}

func TestEndpointToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSTUN_TOKEN", "from the environment")
	_, e, err := parseEndpoint(t, "--token-file", file, "--token-header", "x-sync-token", "ws://h/")
	if err != nil {
		t.Fatal(err)
	}
	if got := e.DialOptions(slog.New(slog.DiscardHandler)).Header.Get("X-Sync-Token"); got != "from the file" {
		t.Errorf("token %q, want the file's", got)
	}
	for _, bad := range []string{"two\nlines", " blank ", "\x01"} {
		t.Setenv("WSTUN_TOKEN", bad)
		if _, _, err := parseEndpoint(t); exitStatus(err) != exitUsage || strings.Contains(err.Error(), bad) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
}

func TestEndpointEnvironment(t *testing.T) {
	t.Setenv("WSTUN_ACCEPT", "127.0.0.1:0")
	t.Setenv("WSTUN_MAX_RETRIES", "3")
	o, _, err := parseEndpoint(t)
	if err != nil || o.Accept != "127.0.0.1:0" {
		t.Errorf("accept %q, %v; want the variable's", o.Accept, err)
	}
	// A URL on the command line overrides an address from a variable.
	o, e, err := parseEndpoint(t, "ws://h/")
	if err != nil || e.URL != "ws://h/" || o.MaxRetries != 3 {
		t.Errorf("%+v, %v; want to dial", o, err)
	}
	// It doesn't override an address on the command line.
	if o, _, err = parseEndpoint(t, "--accept", "127.0.0.1:1", "ws://h/"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", o, err)
	}
	if o, _, err = parseEndpoint(t, "--max-retries", "1"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", o, err)
	}
	t.Setenv("WSTUN_HEADER", "X-One: 1")
	if o, _, err = parseEndpoint(t, "-H", "X-Two: 2"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", o, err)
	}
	t.Setenv("WSTUN_ACCEPT", "")
	unsetEmptyVariables()
	if o, _, err = parseEndpoint(t); err != nil || o.Accept != endpoint.DefaultAccept {
		t.Errorf("%+v, %v; want the default", o, err)
	}
}

func TestTargetArguments(t *testing.T) {
	tests := []struct {
		args       []string
		addr, rest string // "!": a usage error
	}{
		{nil, "", ""},
		{[]string{"ws://h/p"}, "ws://h/p", ""},
		{[]string{"h:1", "a.B"}, "h:1", "a.B"},
		{[]string{":1"}, ":1", ""},
		{[]string{"unix:x", "/a.B"}, "unix:x", "/a.B"},
		{[]string{"unix:///x", "/a.B"}, "unix:///x", "/a.B"},
		{[]string{"a.B"}, "", "a.B"},
		{[]string{"a.B", "c.D"}, "", "!"},
		{[]string{"h:1", "a.B", "c.D"}, "", "!"},
		{[]string{"h:1", ""}, "", "!"},
	}
	for _, tt := range tests {
		options, err := parse(t, append([]string{"list"}, tt.args...)...)
		addr, rest := "", "!"
		if exitStatus(err) != exitUsage {
			o := options.(*listOptions)
			addr, rest = o.target.Addr, o.service
		}
		if addr != tt.addr || rest != tt.rest {
			t.Errorf("%q = %q, %q (%v), want %q, %q", tt.args, addr, rest, err, tt.addr, tt.rest)
		}
	}
}

// Each command's options have the values of its command line.
func TestOptions(t *testing.T) {
	options, err := parse(t, "dial", "--listen", ":1", "--listen", ":2", "--wait", "3s", "--output", "json", "ws://h/")
	if o, ok := options.(*dialOptions); err != nil || !ok || !slices.Equal(o.listen, []string{":1", ":2"}) || o.wait != 3*time.Second || o.output.format != "json" || o.endpoint.URL != "ws://h/" {
		t.Errorf("dial: %+v, %v", options, err)
	}
	options, err = parse(t, "serve", "--upstream", "h:1", "--upstream-tls", "--reflect-header", "a: b", "--expand-headers")
	if o, ok := options.(*serveOptions); err != nil || !ok || !slices.Equal(o.backend.Upstreams, []string{"h:1"}) || !o.backend.UseTLS || len(o.backend.ReflectHeader) != 1 || !o.backend.ExpandHeaders {
		t.Errorf("serve: %+v, %v", options, err)
	}
	options, err = parse(t, "describe", "--msg-template", "--format", "text", "h:1", "a.B", "c.D")
	if o, ok := options.(*describeOptions); err != nil || !ok || !o.template || o.format != "text" || !slices.Equal(o.symbols, []string{"a.B", "c.D"}) || o.target.Calls {
		t.Errorf("describe: %+v, %v", options, err)
	}
	options, err = parse(t, "call", "-d", "", "--count", "2", "-vv", "--compact", "h:1", "a.B/C")
	if o, ok := options.(*callOptions); err != nil || !ok || !o.dataGiven || o.count != 2 || o.verbosity() != 2 || !o.messages.compact || o.method != "a.B/C" || !o.target.Calls || o.repeat != 1 {
		t.Errorf("call: %+v, %v", options, err)
	}
	options, err = parse(t, "shell", "-e", "-c", "ls, ls", "-c", "exit", "--max-retries", "7", "--wait", "2s", "ws://h/")
	if o, ok := options.(*shellOptions); err != nil || !ok || !o.errexit || !slices.Equal(o.commands, []string{"ls, ls", "exit"}) || o.target.Endpoint.MaxRetries != 7 || o.target.Wait != 2*time.Second || !o.target.Reconnect {
		t.Errorf("shell: %+v, %v", options, err)
	}
	options, err = parse(t, "check", "--output", "json", "--yamux-role", "server", "ws://h/")
	if o, ok := options.(*checkOptions); err != nil || !ok || o.output != "json" || o.endpoint.YamuxRole != "server" || o.endpoint.URL != "ws://h/" {
		t.Errorf("check: %+v, %v", options, err)
	}
	options, err = parse(t, "replay", "--speed", "0.5", "--timeout", "3s", "--ignore", "a", "--ignore", "Hub/*:b", "--unordered", "c", "-v", "rec", "h:1")
	if o, ok := options.(*replayOptions); err != nil || !ok || o.file != "rec" || o.rate != 0.5 || o.timeout != 3*time.Second || len(o.ignore) != 2 || len(o.unordered) != 1 || !o.verbose || o.target.Addr != "h:1" || !o.target.Calls {
		t.Errorf("replay: %+v, %v", options, err)
	}
	options, err = parse(t, "replay", "--accept", ":1", "-")
	if o, ok := options.(*replayOptions); err != nil || !ok || o.file != "-" || o.target.Endpoint.Accept != ":1" || o.rate != 0 || o.timeout != 10*time.Second {
		t.Errorf("replay: %+v, %v", options, err)
	}
	options, err = parse(t, "relay", "--takeover", "never", "--hold", "1s", "--drain-pace", "2s", "--policy", "p", "--audit", "a", "--path", "/x", "--max-sessions", "7")
	if o, ok := options.(*relayOptions); err != nil || !ok || o.takeover != "never" || o.hold != time.Second || o.pace != 2*time.Second || o.policy != "p" || o.audit != "a" || o.endpoint.Path != "/x" || o.endpoint.MaxSessions != 7 || o.endpoint.DrainTimeout != 30*time.Second {
		t.Errorf("relay: %+v, %v", options, err)
	}
	options, err = parse(t, "relay", "--id", "r1", "--directory", "nats://u:pw@n1,tls://n2:4222", "--directory-creds", "c", "--directory-cacert", "ca", "--directory-cert", "ce", "--directory-key", "k",
		"--advertise", "http://10.0.0.1:7070", "--hop-cacert", "h", "--hop-cidr", "10.0.0.0/8", "--client-cacert", "cc", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "192.0.2.1")
	if o, ok := options.(*relayOptions); err != nil || !ok || o.directory.id != "r1" || o.directory.servers != "nats://u:pw@n1,tls://n2:4222" || o.directory.creds != "c" || o.directory.cacert != "ca" ||
		o.directory.cert != "ce" || o.directory.key != "k" || o.directory.advertise != "http://10.0.0.1:7070" || o.directory.hopCACert != "h" || o.directory.clientCACert != "cc" || len(o.directory.hops) != 1 || len(o.directory.trusted) != 2 || o.directory.trusted[1].Bits() != 32 {
		t.Errorf("relay: %+v, %v", options, err)
	}
	options, err = parse(t, "relay", "--admin", ":1", "--admin-token-file", "t", "--control", "none")
	if o, ok := options.(*relayOptions); err != nil || !ok || o.admin.addr != ":1" || o.admin.tokenFile != "t" || o.admin.control != "none" {
		t.Errorf("relay: %+v, %v", options, err)
	}
	options, err = parse(t, "workers", "--limit", "7", "--output", "json", "ws://h/", "eu-")
	if o, ok := options.(*workersOptions); err != nil || !ok || o.limit != 7 || o.output != "json" || o.endpoint.URL != "ws://h/" || o.prefix != "eu-" {
		t.Errorf("workers: %+v, %v", options, err)
	}
	options, err = parse(t, "tap", "--to", "w-1", "ws://h/")
	if o, ok := options.(*tapOptions); err != nil || !ok || o.dial.To != "w-1" || o.accept.To != "" {
		t.Errorf("tap: %+v, %v", options, err)
	}
	options, err = parse(t, "demo", "--once", "--relay")
	if o, ok := options.(*demoOptions); err != nil || !ok || !o.once || !o.relay || o.listen != "127.0.0.1:0" {
		t.Errorf("demo: %+v, %v", options, err)
	}
	for _, args := range [][]string{
		{"call", "h:1"},
		{"call", "a.B/C"},
		{"call", "--repeat", "0", "h:1", "a.B/C"},
		{"call", "--output", "json", "--pretty", "h:1", "a.B/C"},
		{"shell"},
		{"shell", "--max-retries", "1", "h:1"},
		{"shell", "--wait", "-1s", "h:1"},
		{"shell", "--pretty", "--compact", "h:1"},
		{"check"},
		{"check", "--output", "xml", "ws://h/"},
		{"describe", "--format", "xml", "h:1"},
		{"dial", "--wait", "-1s"},
		{"replay"},
		{"replay", "rec"},
		{"replay", "h:1"},
		{"replay", "ws://h/", "rec"},
		{"replay", "rec", "h:1", "more"},
		{"replay", "rec", "target"},
		{"replay", "--accept", ":1", "rec", "h:1"},
		{"replay", "--speed", "-1", "rec", "h:1"},
		{"replay", "--speed", "NaN", "rec", "h:1"},
		{"replay", "--speed", "1e9", "rec", "h:1"},
		{"replay", "--timeout", "0", "rec", "h:1"},
		{"replay", "--ignore", "a:b:c[", "rec", "h:1"},
		{"replay", "--unordered", "Hub/WatchKeys", "rec", "h:1"},
		{"replay", "--output", "xml", "rec", "h:1"},
		{"relay", "ws://h/"},
		{"relay", "--takeover", "oldest"},
		{"relay", "--hold", "-1s"},
		{"relay", "--hold", "1m"},
		{"relay", "--drain-pace", "-1s"},
		{"relay", "--id", "R.1"},
		{"relay", "--directory", "redis://h"},
		{"relay", "--directory", "nats://h,"},
		{"relay", "--directory", "nats://h", "--takeover", "never"},
		{"relay", "--directory", "nats://h", "--advertise", "http://u@h"},
		{"relay", "--directory", "nats://h", "--directory-cert", "c"},
		{"relay", "--advertise", "http://h"},
		{"relay", "--directory-creds", "c"},
		{"relay", "--trusted-proxy", "10.0.0.0/33"},
		{"relay", "--directory", "nats://h", "--id", "r1", "--hop-cidr", "10.0.0.0/33"},
		{"relay", "--hop-cidr", "10.0.0.0/8"},
		{"relay", "--client-cacert", "c"},
		{"relay", "--admin-token-file", "t"},
		{"workers"},
		{"workers", "--limit", "0", "ws://h/"},
		{"workers", "--limit", "10001", "ws://h/"},
		{"workers", "--output", "xml", "ws://h/"},
		{"workers", "ws://h/", "a", "b"},
		{"demo", "x"},
		{"version", "x"},
		{"version", "--output", "xml"},
		{"serve", "ws://a/", "ws://b/"},
	} {
		if options, err := parse(t, args...); exitStatus(err) != exitUsage {
			t.Errorf("%q = %+v, %v, want a usage error", args, options, err)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	p := &program{stderr: &stderr}
	if got := p.report(&usage.Error{Err: errors.Join(errors.New("no\nhint: forged"), errors.New("way")), Advice: "another\nway"}); got != exitUsage {
		t.Errorf("status %d", got)
	}
	if got, want := stderr.String(), "wstun: no\\nhint: forged\nwstun: way\nwstun: hint: another\\nway\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	stderr.Reset()
	if got := p.report(&commandError{42}); got != 42 || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q; want the command's, and silence", got, &stderr)
	}
	if got := p.report(nil); got != exitOK || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q", got, &stderr)
	}
}

// A flag without a value is a mistake on the command line, and a variable without one
// counts as unset.
func TestEmptyFlags(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	for _, f := range p.app().Command("serve").Flags {
		name := f.Names()[0]
		isNumber := strings.HasPrefix(name, "max-") || slices.Contains([]string{"drain-timeout", "ping-interval", "ping-timeout", "connect-timeout", "ready-timeout", "record-max", "record-keep", "admin-memory"}, name)
		if f.(cli.DocGenerationFlag).TakesValue() && !isNumber {
			if _, _, err := parseEndpoint(t, "--"+name, ""); err == nil || err.Error() != "--"+name+" is empty" || exitStatus(err) != exitUsage {
				t.Errorf("--%s '': %v, want a usage error", name, err)
			}
		}
	}
}

// Every flag's variable is its name, and no two flags share one. --record and --admin have
// none: two processes would share a file or a port. Nor have flags about one process.
func TestFlagsHaveVariables(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	for _, cmd := range p.app().Commands {
		for _, f := range cmd.Flags {
			if isHelpFlag(f) {
				continue
			}
			vars := f.(cli.DocGenerationFlag).GetEnvVars()
			want := []string{"WSTUN_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
			if slices.Contains([]string{"record", "admin", "attach", "until-ready", "page"}, f.Names()[0]) {
				want = nil
			}
			if !slices.Equal(vars, want) {
				t.Errorf("wstun %s --%s: variables %q, want %q", cmd.Name, f.Names()[0], vars, want)
			}
			if f.(cli.DocGenerationFlag).GetUsage() == "" {
				t.Errorf("wstun %s --%s has no usage", cmd.Name, f.Names()[0])
			}
		}
	}
}

// A flag that an action reads must exist: a misspelt one panics.
func TestUnknownFlagPanics(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	app := p.app()
	app.Command("version").Action = func(c *cli.Context) error {
		defer func() {
			if recover() == nil {
				t.Error("reading a flag that doesn't exist went unnoticed")
			}
		}()
		_ = c.String("nonsense")
		return nil
	}
	if err := app.RunContext(context.Background(), []string{"wstun", "version"}); err != nil {
		t.Error(err)
	}
}

// An error with an exit status, such as an *exec.ExitError, is an error: cli would
// end the process with it.
func TestErrorsAreReturned(t *testing.T) {
	exiter := cli.OsExiter
	defer func() { cli.OsExiter = exiter }()
	cli.OsExiter = func(int) { t.Error("the process was ended") }
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	app := p.app()
	want := cli.Exit("no", 7) //nolint:forbidigo // it mustn't end the process
	app.Command("version").Action = func(*cli.Context) error { return want }
	if err := app.RunContext(t.Context(), []string{"wstun", "version"}); !errors.Is(err, want) {
		t.Errorf("%v, want the command's error", err)
	}
}
