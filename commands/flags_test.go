package commands

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
)

// parse returns the options of a command line, without running the command.
func parse(t *testing.T, args ...string) (options any, err error) {
	t.Helper()
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}, parsed: func(o any) { options = o }}
	err = p.run(t.Context(), p.app(), append([]string{"wstun"}, args...))
	return options, err
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
