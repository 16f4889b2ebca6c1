package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/config"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// These tests are not parallel: urfave/cli has a help flag for all Apps.

// writeConfig writes a configuration, and makes it that of WSTUN_CONFIG.
func writeConfig(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSTUN_CONFIG", path)
	return path
}

const testConfig = `
targets:
  hub:
    url: ws://hub/
    header: ["One: file", "Two: file"]
    connect-timeout: 3s
    path: /ignored # when dialing
    upstream: [":1"] # of serve
    insecure: false
  worker: {accept: ":7", header: ["One: file"]}
  plain: {url: "unix:run/h.sock", tls: true}
  wrong: {url: "wss://h/", yamux-role: x}
  scheme: {url: h}
  protos: {url: "h:1", proto: [a.proto], import-path: [.]}
  port: {url: 50051}
  insecure: {url: "ws://h/", insecure: true}
  color: {url: "ws://h/", color: blue}
`

func TestNamedTargets(t *testing.T) {
	path := writeConfig(t, testConfig)
	both := []string{"One: file", "Two: file"}
	tests := []struct {
		env, args string
		url       string
		accept    string
		header    []string
		timeout   time.Duration
	}{
		{"", "dial @hub", "ws://hub/", "", both, 3 * time.Second},
		{"", "dial --target hub", "ws://hub/", "", both, 3 * time.Second},
		{"", "dial --target=@hub", "ws://hub/", "", both, 3 * time.Second},
		{"", "dial --target ws://h/", "ws://h/", "", nil, 10 * time.Second},
		{"WSTUN_TARGET=@hub", "dial", "ws://hub/", "", both, 3 * time.Second},
		{"WSTUN_TARGET=hub", "dial", "ws://hub/", "", both, 3 * time.Second},
		{"WSTUN_TARGET=ws://h/", "dial", "ws://h/", "", nil, 10 * time.Second},
		{"WSTUN_CONFIG=none", "dial --config " + path + " @hub", "ws://hub/", "", both, 3 * time.Second},

		// The command line overrides the environment, and that the file.
		{"", "dial -H Three:line --connect-timeout 4s @hub", "ws://hub/", "", []string{"Three:line"}, 4 * time.Second},
		{"WSTUN_HEADER=Three:env WSTUN_CONNECT_TIMEOUT=5s", "dial @hub", "ws://hub/", "", []string{"Three:env"}, 5 * time.Second},
		{"WSTUN_HEADER=Three:env", "dial -H Four:line @hub", "ws://hub/", "", []string{"Four:line"}, 3 * time.Second},
		{"WSTUN_TARGET=@hub", "dial ws://h/", "ws://h/", "", nil, 10 * time.Second},
		{"WSTUN_TARGET=@worker", "dial --target hub", "ws://hub/", "", both, 3 * time.Second},
		{"WSTUN_TARGET=@hub", "dial --target none", endpoint.DefaultURL, "", nil, 10 * time.Second},
		{"", "dial --accept :1 @hub", "", ":1", both, 3 * time.Second},
		{"", "dial --accept :1 --target hub", "", ":1", both, 3 * time.Second},
		{"WSTUN_TARGET=@hub", "dial --accept :1", "", ":1", nil, 10 * time.Second},
		{"WSTUN_ACCEPT=:1", "dial @hub", "ws://hub/", "", both, 3 * time.Second},
		{"WSTUN_ACCEPT=:1", "dial @worker", "", ":1", []string{"One: file"}, 10 * time.Second},
		{"", "dial @worker", "", ":7", []string{"One: file"}, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.env+" "+tt.args, func(t *testing.T) {
			for variable := range strings.FieldsSeq(tt.env) {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			options, err := parse(t, strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(err)
			}
			o := &options.(*dialOptions).endpoint
			e, err := endpoint.New(o, wsmux.Client)
			if err != nil {
				t.Fatal(err)
			}
			if e.URL != tt.url || o.Accept != tt.accept || !slices.Equal(o.Header, tt.header) || o.ConnectTimeout != tt.timeout {
				t.Errorf("URL %q, accept %q, header %q, timeout %v", e.URL, o.Accept, o.Header, o.ConnectTimeout)
			}
		})
	}
}

// Each command has its TARGET at its place.
func TestNamedTargetOfCommands(t *testing.T) {
	path := writeConfig(t, testConfig)
	plain := "unix:" + filepath.Join(filepath.Dir(path), "run", "h.sock")
	addr := func(options any) (addr, rest string) {
		switch o := options.(type) {
		case *serveOptions:
			return o.endpoint.URL, strings.Join(o.backend.Upstreams, " ")
		case *tapOptions:
			return o.dial.URL, o.accept.Accept
		case *checkOptions:
			return o.endpoint.URL, ""
		case *listOptions:
			return o.target.Addr, o.service
		case *describeOptions:
			return o.target.Addr, strings.Join(o.symbols, " ")
		case *callOptions:
			return o.target.Addr, o.method
		case *shellOptions:
			return o.target.Addr, ""
		case *replayOptions:
			return o.target.Addr, o.file
		}
		return "", ""
	}
	tests := []struct{ env, args, addr, rest string }{
		{"", "serve @hub", "ws://hub/", ":1"},
		{"hub", "serve", "ws://hub/", ":1"},
		{"hub", "serve --upstream :2 --accept :1", "", ":2"},
		{"", "tap --accept :1 @hub", "ws://hub/", ":1"},
		{"hub", "tap", "ws://hub/", ""},
		{"hub", "check", "ws://hub/", ""},
		{"", "list @plain", plain, ""},
		{"", "list @plain a.B", plain, "a.B"},
		{"hub", "list a.B", "ws://hub/", "a.B"},
		{"hub", "list h:1 a.B", "h:1", "a.B"},
		{"", "describe --target plain a.B c.D", plain, "a.B c.D"},
		{"", "call @plain a.B/C", plain, "a.B/C"},
		{"plain", "call a.B/C", plain, "a.B/C"},
		{"", "call --target plain a.B/C", plain, "a.B/C"},
		{"", "shell @plain", plain, ""},
		{"plain", "shell", plain, ""},
		{"", "replay file @plain", plain, "file"},
		{"plain", "replay file", plain, "file"},
		{"", "replay --target plain @file", plain, "@file"},
	}
	for _, tt := range tests {
		t.Run(tt.env+" "+tt.args, func(t *testing.T) {
			t.Setenv("WSTUN_TARGET", tt.env)
			options, err := parse(t, strings.Fields(tt.args)...)
			if addr, rest := addr(options); err != nil || addr != tt.addr || rest != tt.rest {
				t.Errorf("%q, %q, %v, want %q, %q", addr, rest, err, tt.addr, tt.rest)
			}
		})
	}
}

func TestNamedTargetMistakes(t *testing.T) {
	path := writeConfig(t, testConfig)
	tests := []struct{ env, args, want string }{
		{"", "list @nobody", "no target @nobody in " + path},
		{"", "list --target nobody", "no target @nobody in " + path},
		{"nobody", "list", "WSTUN_TARGET: no target @nobody in " + path},
		{"ws://h:99999/", "list", `WSTUN_TARGET: the URL's port is "99999": want 1 to 65535`},
		{"ws:/h", "list", `WSTUN_TARGET: "ws:/h": there is no port /h`},
		{"nobody", "list ws://h:99999/", `the URL's port is "99999": want 1 to 65535`},
		{"", "list @port", path + `:15: "50051" is not a TARGET`},
		{"", "list @scheme", path + `:13: "h" is not a TARGET`},
		{"", "list @insecure", path + ":16: --insecure with a URL that has no TLS"},
		{"", "list @color", path + `:17: --color "blue": want auto, always or never`},
		{"", "list insecure", `"insecure" is not a TARGET`},
		{"", "list --config none @hub", "no target @hub: --config or WSTUN_CONFIG is none"},
		{"", "list --target hub ws://h/", "both --target hub and ws://h/: give one of them"},
		{"", "dial @wrong", path + `:12: --yamux-role "x": want client or server`},
		{"", "dial --yamux-role y @wrong", `--yamux-role "y": want client or server`},
		{"", "dial @scheme", path + ":13: the URL begins with no scheme: want ws://, wss://, http:// or https://"},
		{"", "list --target ''", "--target is empty"},
		{"plain", "replay", "no FILE"},
		{"", "replay @plain", "no FILE"},
		{"none", "shell", target.ErrNoTarget.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.env+" "+tt.args, func(t *testing.T) {
			t.Setenv("WSTUN_TARGET", tt.env)
			var stderr strings.Builder
			args := strings.Fields(tt.args)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			status := Main(t.Context(), append([]string{"wstun"}, args...), strings.NewReader(""), &strings.Builder{}, &stderr)
			if got, _, _ := strings.Cut(stderr.String(), "\n"); status != exitUsage || got != "wstun: "+tt.want {
				t.Errorf("status %d, stderr %q, want %q", status, &stderr, tt.want)
			}
		})
	}
}

// The hint names a target whose "@" is missing.
func TestMeantTargetName(t *testing.T) {
	writeConfig(t, testConfig)
	t.Setenv("WSTUN_TARGET", "")
	for line, meant := range map[string]string{
		"list hub":                    "list @hub",
		"list hub Echo --max-time 3":  "list --max-time 3 @hub Echo",
		"call hub Echo {}":            "call @hub Echo '{}'",
		"shell hub":                   "shell @hub",
		"replay file hub":             "replay file @hub",
		"check hub":                   "check @hub",
		"serve hub":                   "serve @hub",
		"dial --wait 3s hub -- cat x": "dial --wait 3s @hub -- cat x",
		"list other":                  "",
		"list --protoset x hub":       "",
	} {
		_, stderr, status := runLine(t, line)
		_, got, _ := strings.Cut(strings.TrimSuffix(stderr, "\n"), "did you mean: wstun ")
		if status != exitUsage || got != meant {
			t.Errorf("wstun %s: status %d, %q, want %q", line, status, stderr, meant)
		}
	}
}

// serve accepts without a URL; a variable doesn't change that silently.
func TestServeWarnsOfVariable(t *testing.T) {
	t.Setenv("WSTUN_TARGET", "ws://user:s3cret@h/")
	for args, want := range map[string]bool{"serve": true, "serve --accept :1": false, "serve --target ws://h/": false, "serve ws://h/": false, "dial": false} {
		var stderr strings.Builder
		p := &program{stdout: &strings.Builder{}, stderr: &stderr, parsed: func(any) {}}
		if err := p.run(t.Context(), p.app(), append([]string{"wstun"}, strings.Fields(args)...)); err != nil {
			t.Error(err)
		}
		if got := strings.HasPrefix(stderr.String(), "wstun: warning: WSTUN_TARGET is set: serve dials ws://h/;"); got != want || !want && stderr.Len() > 0 {
			t.Errorf("wstun %s: stderr %q", args, &stderr)
		}
	}
}

// The command line replaces also flags that go with no other.
func TestNamedTargetAlternatives(t *testing.T) {
	path := writeConfig(t, testConfig)
	for args, want := range map[string]string{
		"list @protos":              "[a.proto] [" + filepath.Dir(path) + "] []",
		"list --proto b @protos":    "[b] [" + filepath.Dir(path) + "] []",
		"list --protoset x @protos": "[] [] [x]",
	} {
		options, err := parse(t, strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		d := options.(*listOptions).target.Descriptors
		if got := fmt.Sprint(d.Protos, d.ImportPaths, d.Protosets); got != want {
			t.Errorf("wstun %s: %s, want %s", args, got, want)
		}
	}
}

// A key has one kind for all commands.
func TestTargetKeys(t *testing.T) {
	p := quietProgram()
	p.app()
	keys := p.named.keys()
	for _, cmd := range p.named.commands {
		for _, f := range cmd.Flags {
			if want, got := keys[f.Names()[0]], (config.Key{Kind: kindOf(f), Repeatable: isRepeatable(f)}); got != want {
				t.Errorf("wstun %s --%s is %+v, elsewhere %+v", cmd.Name, f.Names()[0], got, want)
			}
		}
	}
	for name, want := range map[string]config.Key{
		"header":      {Kind: config.Header, Repeatable: true},
		"rpc-header":  {Kind: config.Header, Repeatable: true},
		"token-file":  {Kind: config.Path},
		"stub":        {Kind: config.Path},
		"import-path": {Kind: config.Path, Repeatable: true},
		"proto":       {Kind: config.ProtoFile, Repeatable: true},
		"path":        {},
		"ignore":      {Repeatable: true},
		"listen":      {Kind: config.Address, Repeatable: true},
		"insecure":    {Kind: config.Bool},
		"record":      {Kind: config.CommandLine},
		"target":      {Kind: config.CommandLine},
		"config":      {Kind: config.CommandLine},
	} {
		if got := keys[name]; got != want {
			t.Errorf("key %s is %+v, want %+v", name, got, want)
		}
	}
	if _, ok := keys["follow"]; ok {
		t.Error("trace's flags are keys")
	}
}

func TestCompleteNamedTargets(t *testing.T) {
	path := writeConfig(t, "targets: {staging: {url: 'ws://u:s3cret@h/'}, stage2: {}, prod: {}}")
	stages := []string{"@stage2", "@staging"}
	tests := []struct {
		config, line string // of words; the one after the last blank is to be completed
		want         []string
	}{
		{path, "call @st", stages},
		{path, "serve @st", stages},
		{path, "dial -H a:b @st", stages},
		{path, "tap @st", stages},
		{path, "check @st", stages},
		{path, "replay file @st", stages},
		{path, "config @st", stages},
		{path, "list @p", []string{"@prod"}},
		{path, "serve ", []string{"@prod", "@stage2", "@staging"}},
		{path, "check ", []string{endpoint.DefaultURL, "@prod", "@stage2", "@staging"}},
		{path, "call @prod @st", nil},
		{path, "trace @st", nil},
		{path, "call --target st", []string{"stage2", "staging"}},
		{path, "call --target @st", stages},
		{path, "call --target=st", []string{"--target=stage2", "--target=staging"}},
		{path, "call -target=@p", []string{"-target=@prod"}},
		{path, "call --config none @st", nil},
		{"none", "call @st", nil},
		{"none", "call --config " + path + " @st", stages},
		{"none", "call --config " + path + " --target p", []string{"prod"}},
		{path + "x", "call @st", nil},
	}
	for _, tt := range tests {
		t.Setenv("WSTUN_CONFIG", tt.config)
		if got := complete(t, nil, strings.Split(tt.line, " ")...); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.line, got, tt.want)
		}
	}
	t.Setenv("WSTUN_CONFIG", path)
	for words, want := range map[string]string{
		"fish call @staging":             "@staging\tws://h/\n",
		"powershell .call .@st":          "", // a variable there
		"powershell .call .--target .st": "stage2\nstaging\tws://h/\n",
		"powershell .call .--target=p":   "--target=prod\n",
		"powershell .serve .":            "",
	} {
		var stdout strings.Builder
		args := append([]string{"wstun", "__complete"}, strings.Fields(words)...)
		if status := Main(t.Context(), args, strings.NewReader(""), &stdout, &strings.Builder{}); status != exitOK || stdout.String() != want {
			t.Errorf("%q: status %d, %q, want %q", words, status, &stdout, want)
		}
	}
}

// Names at a named target are completed as at its URL.
func TestCompleteAtNamedTarget(t *testing.T) {
	url, _ := demoHub(t, "s3cret-token")
	path := writeConfig(t, "targets: {hub: {url: '"+url+"', token-file: token}}")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "token"), []byte("s3cret-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"Hub/Sleep", "Hub/Sum"}
	for _, line := range []string{"call @hub Hub/S", "call --target hub Hub/S", "call --target hub --output json Hub/S"} {
		if got := complete(t, nil, strings.Split(line, " ")...); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	t.Setenv("WSTUN_TARGET", "@hub")
	if got := complete(t, nil, "call", "Hub/S"); !slices.Equal(got, want) {
		t.Errorf("with WSTUN_TARGET: %q, want %q", got, want)
	}
}
