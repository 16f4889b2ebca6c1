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

	"github.com/wstun/wstun/tunnel/wsmux"
)

// These tests are not parallel: urfave/cli has a help flag for all Apps.

// parseEndpoint is what serve makes of its command line.
func parseEndpoint(t *testing.T, args ...string) (*endpoint, error) {
	t.Helper()
	var e *endpoint
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	app := p.app()
	cmd := app.Command("serve")
	cmd.Action = func(c *cli.Context) (err error) {
		args, err := p.arguments(c, 1)
		if err != nil {
			return err
		}
		e, err = newEndpoint(c, wsmux.Server, first(args), endpoint{accept: defaultAccept})
		return err
	}
	err := app.RunContext(t.Context(), append([]string{"wstun", "serve"}, args...))
	return e, err
}

func TestEndpointDefaults(t *testing.T) {
	e, err := parseEndpoint(t)
	if err != nil {
		t.Fatal(err)
	}
	if e.url != "" || e.accept != "127.0.0.1:7070" {
		t.Errorf("url %q, accept %q", e.url, e.accept)
	}
	session := e.acceptOptions.Session
	if session.Role != wsmux.Server || session.Window != 0 || session.PingInterval != 30*time.Second || session.PingTimeout != 90*time.Second {
		t.Errorf("session options %+v", session)
	}
	if e.maxRetries != -1 || e.maxRetryInterval != 30*time.Second || e.drainTimeout != 30*time.Second {
		t.Errorf("retries %d, interval %v, drain %v", e.maxRetries, e.maxRetryInterval, e.drainTimeout)
	}
}

func TestEndpointDialing(t *testing.T) {
	t.Setenv("WSTUN_TOKEN", "s3cret-token")
	e, err := parseEndpoint(t, "-H", "Accept: a, b", "-H", "X-Two: 2", "-H", "X-Two: 3",
		"--yamux-role", "client", "--window", "512KiB", "--ping-interval", "0", "--connect-timeout", "0",
		"--subprotocol", "a", "--subprotocol", "b", "wss://worker/v1/ws/sync")
	if err != nil {
		t.Fatal(err)
	}
	opts := e.dialOptions
	e.refresh(&opts, slog.New(slog.DiscardHandler))
	h := opts.Header
	if got := h.Values("Accept"); !slices.Equal(got, []string{"a, b"}) {
		t.Errorf("Accept = %q, want one header", got)
	}
	if got := h.Values("X-Two"); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("X-Two = %q", got)
	}
	if got := h.Get("Authorization"); got != "Bearer s3cret-token" {
		t.Errorf("Authorization = %q", got)
	}
	if got := e.dialOptions.Subprotocols; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("subprotocols = %q", got)
	}
	session := e.dialOptions.Session
	if session.Role != wsmux.Client || session.Window != 512<<10 || session.PingInterval >= 0 || e.dialOptions.ConnectTimeout >= 0 {
		t.Errorf("options %+v", e.dialOptions)
	}
}

func TestEndpointToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSTUN_TOKEN", "from the environment")
	e, err := parseEndpoint(t, "--token-file", file, "--token-header", "x-sync-token", "ws://h/")
	if err != nil {
		t.Fatal(err)
	}
	opts := e.dialOptions
	e.refresh(&opts, slog.New(slog.DiscardHandler))
	if got := opts.Header.Get("X-Sync-Token"); got != "from the file" {
		t.Errorf("token %q, want the file's", got)
	}
	if e.acceptOptions.TokenHeader != "x-sync-token" {
		t.Errorf("accept options %+v", e.acceptOptions)
	}
	for _, bad := range []string{"two\nlines", " blank ", "\x01"} {
		t.Setenv("WSTUN_TOKEN", bad)
		if _, err := parseEndpoint(t); exitStatus(err) != exitUsage || strings.Contains(err.Error(), bad) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
}

func TestEndpointEnvironment(t *testing.T) {
	t.Setenv("WSTUN_ACCEPT", "127.0.0.1:0")
	t.Setenv("WSTUN_MAX_RETRIES", "3")
	e, err := parseEndpoint(t)
	if err != nil || e.accept != "127.0.0.1:0" {
		t.Errorf("accept %q, %v; want the variable's", e.accept, err)
	}
	// A URL that is typed goes before an address that is set.
	e, err = parseEndpoint(t, "ws://h/")
	if err != nil || e.url != "ws://h/" || e.maxRetries != 3 {
		t.Errorf("%+v, %v; want to dial", e, err)
	}
	// But not before one that is typed as well: not the variable counts then.
	if e, err = parseEndpoint(t, "--accept", "127.0.0.1:1", "ws://h/"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", e, err)
	}
	if e, err = parseEndpoint(t, "--max-retries", "1"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", e, err)
	}
	t.Setenv("WSTUN_HEADER", "X-One: 1")
	if e, err = parseEndpoint(t, "-H", "X-Two: 2"); exitStatus(err) != exitUsage {
		t.Errorf("%+v, %v; want a usage error", e, err)
	}
	t.Setenv("WSTUN_ACCEPT", "")
	unsetEmptyVariables()
	if e, err = parseEndpoint(t); err != nil || e.accept != defaultAccept {
		t.Errorf("%+v, %v; want the default", e, err)
	}
}

func TestParseWindow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want uint32
	}{
		{"4MiB", 4 << 20},
		{"256KiB", 256 << 10},
		{"262144", 256 << 10},
		{"1024MiB", 1 << 30},
		{"255KiB", 0},
		{"1025MiB", 0},
		{"4MB", 0},
		{"", 0},
		{"-1", 0},
		{"1.5MiB", 0},
		{"99999999999MiB", 0},
		{"4294967295MiB", 0},
	}
	for _, tt := range tests {
		if got, err := parseWindow(tt.in); got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("parseWindow(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	if got := report(&stderr, &usageError{err: errors.New("no\nway"), hint: "another"}); got != exitUsage {
		t.Errorf("status %d", got)
	}
	if got, want := stderr.String(), "wstun: no\nwstun: way\nwstun: hint: another\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	stderr.Reset()
	if got := report(&stderr, &commandError{42}); got != 42 || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q; want the command's, and silence", got, &stderr)
	}
	if got := report(&stderr, nil); got != exitOK || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q", got, &stderr)
	}
}

// A flag without a value is a mistake on the command line, a variable without one
// is no variable.
func TestEmptyFlags(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	for _, f := range p.app().Command("serve").Flags {
		name := f.Names()[0]
		switch f.(type) {
		case *cli.StringFlag, *cli.PathFlag, *cli.StringSliceFlag:
			if _, err := parseEndpoint(t, "--"+name, ""); err == nil || err.Error() != "--"+name+" is empty" || exitStatus(err) != exitUsage {
				t.Errorf("--%s '': %v, want a usage error", name, err)
			}
		}
	}
}

// Every flag's variable is its name, and no two flags share one.
func TestFlagsHaveVariables(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	for _, cmd := range p.app().Commands {
		for _, f := range cmd.Flags {
			vars := f.(cli.DocGenerationFlag).GetEnvVars()
			want := "WSTUN_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
			if !slices.Equal(vars, []string{want}) {
				t.Errorf("wstun %s --%s: variables %q, want %s", cmd.Name, f.Names()[0], vars, want)
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
	want := cli.Exit("no", 7) //nolint:forbidigo // what mustn't do what it says
	app.Command("version").Action = func(*cli.Context) error { return want }
	if err := app.RunContext(t.Context(), []string{"wstun", "version"}); !errors.Is(err, want) {
		t.Errorf("%v, want the command's error", err)
	}
}

// --help of each command names its flags: cli panics there about one that is
// defined twice.
func TestEveryHelp(t *testing.T) {
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
	for _, cmd := range p.app().Commands {
		if cmd.SkipFlagParsing { // it is for the shells alone
			continue
		}
		var stdout strings.Builder
		p := &program{stdout: &stdout, stderr: &strings.Builder{}}
		if err := p.app().RunContext(t.Context(), []string{"wstun", cmd.Name, "--help"}); err != nil {
			t.Errorf("wstun %s --help: %v", cmd.Name, err)
		}
		for _, f := range cmd.Flags {
			if !strings.Contains(stdout.String(), "--"+f.Names()[0]) {
				t.Errorf("wstun %s --help says nothing of --%s:\n%s", cmd.Name, f.Names()[0], &stdout)
			}
		}
	}
}
