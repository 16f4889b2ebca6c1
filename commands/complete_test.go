package commands

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// These tests are not parallel: urfave/cli has a help flag for all Apps.

// complete completes the last of words, and returns the candidates' texts.
func complete(t *testing.T, c *completer, words ...string) []string {
	t.Helper()
	if c == nil {
		c = &completer{timeout: time.Minute}
	}
	var texts []string
	for _, candidate := range c.complete(t.Context(), words).Candidates {
		texts = append(texts, candidate.Text)
	}
	return texts
}

// demoHub serves the demo Hub at a WebSocket that demands a token, until stop.
func demoHub(t *testing.T, token string) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := backend.NewDemo(limit.New(nil))
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{Up: srv.ServeStreams})
	acceptor := tunnel.NewAcceptor(sessions, tunnel.AcceptOptions{
		CurrentToken: func() string { return token },
		Session:      tunnel.SessionOptions{Role: wsmux.Server},
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = acceptor.Serve(l)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx := context.WithoutCancel(t.Context())
		_ = acceptor.Shutdown(ctx)
		_ = srv.Shutdown(ctx, sessions)
		<-served
	}
	t.Cleanup(stop)
	return "ws://" + l.Addr().String() + "/", stop
}

// demoProtoset is a file with the demo Hub's descriptors.
func demoProtoset(t *testing.T) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "hub.protoset"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := reflection.WriteProtoset(file, demo.File_commands_demo_hub_proto.Services().Get(0)); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func TestCompleteWords(t *testing.T) {
	protoset := demoProtoset(t)
	methods := []string{"Hub/Sleep", "Hub/Sum"}
	tests := []struct {
		line string // of words; the one after the last blank is to be completed
		want []string
	}{
		{"c", []string{"check", "call", "config", "completion"}},
		{"__", nil},
		{"-", []string{"--help", "-h", "--all", "--version"}},
		{"nonsense ", nil},
		{"help ca", []string{"call"}},
		{"help call ", nil},
		{"completion ", completion.Shells},
		{"completion f", []string{"fish"}},
		{"version ", nil},

		{"call --out", []string{"--output"}},
		{"call --proto", []string{"--proto-names", "--proto-out-dir", "--protoset-out", "--proto", "--protoset"}},
		{"call --output json --outp", nil}, // it is there
		{"call -H a:b --head", []string{"--header"}},
		{"call -H a:b --nonsense x --head", nil},
		{"call --tls --log-f", []string{"--log-format"}},
		{"call h:1 a.B/C --out", []string{"--output"}},
		{"call h:1 --output ", []string{"text", "json"}},
		{"call h:1 a.B/C -1 --out", []string{"--output"}},
		{"call -- --out", nil},
		{"--output json call --log-f", []string{"--log-format"}},
		{"--output json ca", []string{"call"}},
		{"--output ", []string{"text", "json"}},
		{"call --he", []string{"--header", "--help"}},

		{"call --output ", []string{"text", "json"}},
		{"call --output j", []string{"json"}},
		{"call --output=", []string{"--output=text", "--output=json"}},
		{"call -output=j", []string{"-output=json"}},
		{"call --log-level d", []string{"debug"}},
		{"call --use-reflection=f", []string{"--use-reflection=false"}},
		{"call --nonsense=", nil},
		{"call --authority ", nil},
		{"call -d ", nil},
		{"serve --yamux-role ", []string{"client", "server"}},
		{"serve --log-level=info --output ", []string{"text", "json"}},
		{"serve ", nil}, // it needs no URL
		{"check ", []string{endpoint.DefaultURL}},
		{"shell ", []string{endpoint.DefaultURL, defaultListen}},
		{"replay file ", []string{endpoint.DefaultURL, defaultListen}},
		{"replay file :1 ", nil},
		{"call ws", []string{endpoint.DefaultURL}},
		{"dial ws://h/ ", nil},
		{"dial ws://h/ x ", nil},
		{"dial -- ", nil},
		{"list -- ", nil},

		{"list --protoset=" + protoset + " wstun", []string{"wstun.demo.v1.Hub"}},
		{"list --protoset=" + protoset + " ", []string{endpoint.DefaultURL, defaultListen, "wstun.demo.v1.Hub"}},
		{"list --protoset " + protoset + " Hub ", nil},
		{"call --protoset " + protoset + " h:1 Hub/S", methods},
		{"call --protoset " + protoset + " --output json -H a:b h:1 Hub/S", methods},
		{"call --protoset " + protoset + " h:1 Hub.Su", []string{"Hub.Sum"}},
		{"call h:1 --protoset " + protoset + " Hub.Su", []string{"Hub.Sum"}},
		{"describe /tmp/socket --unix --protoset " + protoset + " Key.n", []string{"Key.name"}},
		{"call --proto demo/hub.proto h:1 Hub/S", methods},
		{"call --proto nothing h:1 Hub/S", nil},
		{"call --protoset " + protoset + " Hub/S", nil}, // the TARGET goes first
		{"describe --protoset " + protoset + " Hub wstun.demo.v1.KeyS", []string{"wstun.demo.v1.KeySnapshot"}},
		{"describe --protoset " + protoset + " Key.n", []string{"Key.name"}},
		{"list --accept 127.0.0.1:0 H", nil}, // nobody waits for one to come
	}
	for _, tt := range tests {
		if got := complete(t, nil, strings.Split(tt.line, " ")...); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestCompletePaths(t *testing.T) {
	tests := []struct {
		line   string
		paths  completion.Paths
		prefix string
	}{
		{"call --protoset ", completion.Files, ""},
		{"call --protoset=x", completion.Files, "--protoset="},
		{"call -d @x", completion.Files, "@"},
		{"call -d=@x", completion.Files, "-d=@"},
		{"call -d x", completion.NoPaths, ""},
		{"call --import-path x", completion.Folders, ""},
		{"call --path /", completion.NoPaths, ""}, // of a URL
		{"shell --history ", completion.Files, ""},
		{"replay ", completion.Files, ""},
		{"replay --output json f", completion.Files, ""},
		{"replay f unix:x", completion.Files, "unix:"},
		{"call unix:x", completion.Files, "unix:"},
		{"call unix:///x", completion.Files, "unix:"},
		{"list unix:x", completion.Files, "unix:"},
		{"serve --upstream unix:", completion.Files, "unix:"},
		{"dial --listen=unix:x", completion.Files, "--listen=unix:"},
		{"dial --listen :1", completion.NoPaths, ""},
		{"dial ws://h/ -- ", completion.Files, ""},
		{"dial ws://h/ -- ls --output ", completion.Files, ""},
		{"list h:1 -- ", completion.NoPaths, ""},
	}
	for _, tt := range tests {
		got := (&completer{}).complete(t.Context(), strings.Split(tt.line, " "))
		if got.Paths != tt.paths || got.Prefix != tt.prefix || len(got.Candidates) > 0 {
			t.Errorf("%q: paths %q behind %q and %v, want %q behind %q", tt.line, got.Paths, got.Prefix, got.Candidates, tt.paths, tt.prefix)
		}
	}
}

// The target is asked as the command itself would ask it.
func TestCompleteFromServer(t *testing.T) {
	url, _ := demoHub(t, "s3cret")
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		words, want []string
	}{
		{[]string{"list", "--token-file", tokenFile, url, "wstun"}, []string{"wstun.demo.v1.Hub"}},
		{[]string{"list", "-H", "Authorization: Bearer s3cret", url, "Hub"}, []string{"Hub"}},
		{[]string{"call", "-H=Authorization: Bearer s3cret", url, "wstun.demo.v1.Hub/S"}, []string{"wstun.demo.v1.Hub/Sleep", "wstun.demo.v1.Hub/Sum"}},
		{[]string{"describe", "--token-file", tokenFile, url, "Hub", "KeyE"}, []string{"KeyEvent"}},
		{[]string{"call", "--token-file", tokenFile, url, "Hub/Sum", ""}, nil},
		{[]string{"list", "-H", "Authorization: Bearer wrong", url, "Hub"}, nil},
		{[]string{"list", url, "Hub"}, nil},
		{[]string{"list", "--token-file", tokenFile, "--ping-interval", "soon", url, "Hub"}, nil},
	}
	for _, tt := range tests {
		if got := complete(t, nil, tt.words...); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.words, got, tt.want)
		}
	}
	t.Setenv("WSTUN_TOKEN", "s3cret")
	answer := (&completer{timeout: time.Minute}).complete(t.Context(), []string{"call", url, "Hub/Ec"})
	want := completion.Candidate{Text: "Hub/Echo", Description: "stream EchoRequest → stream EchoResponse"}
	if !slices.Equal(answer.Candidates, []completion.Candidate{want}) {
		t.Errorf("candidates %v, want %v", answer.Candidates, want)
	}
}

func TestCompleteServerDown(t *testing.T) {
	if got := complete(t, nil, "call", "unix:"+filepath.Join(t.TempDir(), "nobody"), ""); got != nil {
		t.Errorf("candidates %q of a server that isn't there", got)
	}
	// A server that never answers: the time-out ends the wait.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, target := range []string{"ws://" + l.Addr().String() + "/", l.Addr().String()} {
		c := &completer{timeout: 50 * time.Millisecond}
		if got := complete(t, c, "call", "--connect-timeout=0", "--ping-timeout=0", target, ""); got != nil {
			t.Errorf("candidates %q of a server that doesn't answer", got)
		}
	}
}

func TestCompleteFromCache(t *testing.T) {
	url, stop := demoHub(t, "s3cret")
	c := &completer{timeout: time.Minute, cache: completion.Cache{Dir: t.TempDir(), MaxAge: time.Hour}}
	words := []string{"call", "-H", "Authorization: Bearer s3cret", url, "Hub/Ec"}
	want := []string{"Hub/Echo"}
	if got := complete(t, c, words...); !slices.Equal(got, want) {
		t.Fatalf("candidates %q, want %q", got, want)
	}
	stop()
	if got := complete(t, c, words...); !slices.Equal(got, want) {
		t.Errorf("candidates %q from the cache, want %q", got, want)
	}
	words[4] = "Hub/Su"
	if got := complete(t, c, words...); !slices.Equal(got, []string{"Hub/Sum"}) {
		t.Errorf("candidates %q from the cache for another word", got)
	}
	for _, other := range [][]string{
		{"call", "-H", "Authorization: Bearer other", url, "Hub/Ec"},
		{"call", url, "Hub/Ec"},
		{"list", "-H", "Authorization: Bearer s3cret", url, "Hub"},
		{"call", "-H", "Authorization: Bearer s3cret", url + "other", "Hub/Ec"},
	} {
		if got := complete(t, c, other...); got != nil {
			t.Errorf("%q: %q, which nobody has asked for before", other, got)
		}
	}
	c.cache.MaxAge = 0
	if got := complete(t, c, words...); got != nil {
		t.Errorf("candidates %q from a cache that has expired", got)
	}
}

// Every flag with a few values, and every flag for a path, has to be known as such.
func TestCompleteKnowsAllFlags(t *testing.T) {
	seen := make(map[string]bool)
	for _, cmd := range quietProgram().app().Commands {
		for _, f := range cmd.Flags {
			name := f.Names()[0]
			seen[name] = true
			_, kind := describeFlag(f)
			answer := completeValue(f, "", "")
			if slices.Contains([]string{"FORMAT", "LEVEL", "ROLE"}, kind) && len(answer.Candidates) < 2 {
				t.Errorf("wstun %s --%s: a %s without values in flagValues", cmd.Name, name, kind)
			}
			if _, ok := f.(*cli.PathFlag); ok && answer.Paths == completion.NoPaths {
				t.Errorf("wstun %s --%s: want a path called FILE, PATH or DIR, not %q", cmd.Name, name, kind)
			}
		}
	}
	for name := range flagValues {
		if !seen[name] {
			t.Errorf("flagValues has --%s, which is no flag", name)
		}
	}
}
