package commands

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/tunnel/wsmux"
)

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
