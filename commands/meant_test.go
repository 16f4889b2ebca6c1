package commands

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/target"
)

// runLine runs wstun with the words of a line, of which "…" is one, and returns its output
// and exit status.
func runLine(t *testing.T, line string) (stdout, stderr string, status int) {
	t.Helper()
	args := []string{"wstun"}
	for i, part := range strings.Split(line, `'`) {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	var out, errs strings.Builder
	status = Main(t.Context(), args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), status
}

// The hint for a mistake is the command line that was probably meant.
func TestMeant(t *testing.T) {
	const notURL = "the URL begins with no scheme: want ws://, wss://, http:// or https://"
	for _, tt := range []struct{ line, err, meant string }{
		// no port, or only a port
		{"list 50051", `"50051" is not a TARGET`, "list :50051"},
		{"list localhost", `"localhost" is not a TARGET`, "list localhost:50051"},
		{"list localhost Hub --max-time 3", `"localhost" is not a TARGET`, "list --max-time 3 localhost:50051 Hub"},
		{"call 127.0.0.1 Echo {}", `"127.0.0.1" is not a TARGET`, "call 127.0.0.1:50051 Echo '{}'"},
		{"call ::1 Echo", `"::1": an IPv6 address needs brackets: want [::1]:PORT`, ""},
		{"replay file localhost", `"localhost" is not a TARGET`, "replay file localhost:50051"},
		// swapped
		{"call Hub/Echo ws://h/p", `"Hub/Echo" is not a TARGET`, "call ws://h/p Hub/Echo"},
		{"call Hub/Echo :1 '{\"text\": \"it’s\"}'", `"Hub/Echo" is not a TARGET`, `call :1 Hub/Echo '{"text": "it’s"}'`},
		{"call {} Hub/Echo :1", `"{}" is not a TARGET`, `call :1 Hub/Echo '{}'`},
		{"call :1 {} Hub/Echo", "the JSON is before the METHOD", `call :1 Hub/Echo '{}'`},
		{"list Hub ws://h/", `"Hub" is not a TARGET`, "list ws://h/ Hub"},
		{"list --protoset x Hub ws://h/", `"Hub" is not a TARGET`, "list --protoset x ws://h/ Hub"},
		{"describe A B unix:sock", `"A" is not a TARGET`, "describe unix:sock A B"},
		{"shell -e Echo h:1", `"Echo" is not a TARGET`, "shell -e h:1 Echo"},
		{"replay h:1 file -v", "h:1 is not a FILE", "replay -v file h:1"},
		{"replay wss://h/ file", "wss://h/ is not a FILE", "replay file wss://h/"},
		// no scheme
		{"call worker.example/path Echo", `"worker.example/path" is not a TARGET`, "call wss://worker.example/path Echo"},
		{"call worker.example:7070/path Echo", `"worker.example:7070/path" is not a TARGET`, "call wss://worker.example:7070/path Echo"},
		{"list localhost:7070/", `"localhost:7070/" is not a TARGET`, "list ws://localhost:7070/"},
		{"list worker.example", `"worker.example" is not a TARGET`, "list wss://worker.example/"},
		{"list [2001:db8::1]:7070/x", `"[2001:db8::1]:7070/x" is not a TARGET`, "list 'wss://[2001:db8::1]:7070/x'"},
		{"check worker.example", notURL, "check wss://worker.example/"},
		{"tap worker.example:8443/v1", notURL, "tap wss://worker.example:8443/v1"},
		{"dial 127.0.0.1:7070", notURL, "dial ws://127.0.0.1:7070/"},
		{"dial --wait 3s :7070 -- echo hi", notURL, "dial --wait 3s ws://127.0.0.1:7070/ -- echo hi"},
		{"serve worker.example:7150", notURL, "serve wss://worker.example:7150/"},
		// an address to accept at
		{"serve :7150", notURL, "serve --accept :7150"},
		{"serve 7150 --upstream :1", notURL, "serve --upstream :1 --accept :7150"},
		{"serve 0.0.0.0:7150", notURL, "serve --accept 0.0.0.0:7150"},
		{"serve --port 7150", "flag provided but not defined: -port", "serve --accept :7150"},
		{"serve --port=7150 --upstream :1", "flag provided but not defined: -port", "serve --accept :7150 --upstream :1"},
		{"dial --port 7150 ws://h/ -- echo", "flag provided but not defined: -port", "dial --listen :7150 ws://h/ -- echo"},
		{"tap ws://h/ -port 7150", "flag provided but not defined: -port", "tap --accept :7150 ws://h/"},
		// no "--"
		{"dial ws://h/ echo hi", `unexpected argument "echo"`, "dial ws://h/ -- echo hi"},
		{"dial ws://h/ echo", `unexpected argument "echo"`, "dial ws://h/ -- echo"},
		{"dial echo hi", `unexpected argument "hi"`, "dial -- echo hi"},
		{"dial h.example/x echo hi", `unexpected argument "echo"`, "dial wss://h.example/x -- echo hi"},
		{"dial --listen :0 ws://h/ sh -c 'echo $WSTUN_ADDR'", "flag provided but not defined: -c", "dial --listen :0 ws://h/ -- sh -c 'echo $WSTUN_ADDR'"},
		{"dial ws://h/ grpcurl -plaintext -H 'a: secret' :50051 list", "flag provided but not defined: -plaintext", "dial ws://h/ -- grpcurl -plaintext -H 'a: ***' :50051 list"},
		{"dial ws://h/ ws://g/", `unexpected argument "ws://g/"`, ""},
		// no method
		{"call ws://h/ -H a:b --count 1", "no METHOD", "list -H 'a: ***' ws://h/"},
		// grpcurl's order
		{"-plaintext localhost:50051 list", `unknown command "localhost:50051"`, "list -plaintext localhost:50051"},
		{"-plaintext -d {} localhost:50051 a.B/C", `unknown command "localhost:50051"`, "call -plaintext -d '{}' localhost:50051 a.B/C"},
		{"-unix /tmp/sock describe a.B", `unknown command "/tmp/sock"`, "describe -unix /tmp/sock a.B"},
		// secrets, however short
		{"call -H x:abc --rpc-header=y:abc --proxy http://u:p@g:1 worker.example/path?t=abc M", `"worker.example/path" is not a TARGET`, "call -H 'x: ***' '--rpc-header=y: ***' --proxy 'http://***@g:1' 'wss://worker.example/path?***' M"},
		{"list Hub ws://u:p@h/?t=abc", `"Hub" is not a TARGET`, "list 'ws://***@h/?***' Hub"},
		// paths
		{"list /tmp/missing/sock", "no TARGET", ""},
		{"call /a.B/C", "no TARGET before the METHOD /a.B/C", ""},
		{"dial /bin/echo hi", `unexpected argument "hi"`, "dial -- /bin/echo hi"},
		{"dial ./echo hi", `unexpected argument "hi"`, "dial -- ./echo hi"},
		// no guess
		{"list", "no TARGET", ""},
		{"call Echo", "no TARGET before the METHOD Echo", ""},
		{"call :1 Echo two", `unexpected argument "two"`, ""},
		{"call :1 --nonsense Echo", "flag provided but not defined: -nonsense", ""},
		{"nonsense :1", `unknown command "nonsense"`, ""},
		{"serve --accept :1 :2", "both --accept :1 and the URL :2: a side either accepts or dials", ""},
		{"dial unix:sock", notURL, ""},
	} {
		stdout, stderr, status := runLine(t, tt.line)
		first, hint, _ := strings.Cut(strings.TrimSuffix(stderr, "\n"), "\n")
		_, meant, found := strings.Cut(hint, ": wstun ")
		if first != "wstun: "+tt.err || found != (tt.meant != "") || meant != tt.meant || status != exitUsage || stdout != "" {
			t.Errorf("wstun %s: status %d\n%s%swant %s\nand %s", tt.line, status, stdout, stderr, tt.err, tt.meant)
		}
	}
}

// A value that isn't joined to a flag which is on or off is neither a TARGET nor a URL.
func TestMeantBool(t *testing.T) {
	for line, want := range map[string]string{
		"list --insecure false wss://h/": "wstun: --insecure takes no value from the next argument, \"false\"\nwstun: hint: did you mean --insecure=false?\n",
		"dial -trace true ws://h/":       "wstun: -trace takes no value from the next argument, \"true\"\nwstun: hint: did you mean -trace=true?\n",
		"list --max-time 3 true":         "wstun: no TARGET\nwstun: hint: " + target.NoTargetAdvice + "\n",
	} {
		if _, stderr, status := runLine(t, line); status != exitUsage || stderr != want {
			t.Errorf("wstun %s: status %d, %q, want %q", line, status, stderr, want)
		}
	}
}

// A named target before a COMMAND stays.
func TestMeantDialNamed(t *testing.T) {
	want := []string{"-v", "@staging", "--", "echo", "-v"}
	if got := meantDial([]cli.Flag{&cli.BoolFlag{Name: "v"}}, []string{"@staging", "-v", "echo", "-v"}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each of grpcurl's flags works, or the hint says what to use instead.
func TestGrpcurlFlags(t *testing.T) {
	works := map[string][]string{
		"call": {
			"plaintext", "insecure", "cacert", "cert", "key", "expand-headers", "authority", "user-agent", "d", "format", "allow-unknown-fields",
			"connect-timeout", "format-error", "max-time", "max-msg-sz", "emit-defaults", "protoset-out", "proto-out-dir", "v", "vv", "servername",
			"H", "rpc-header", "reflect-header", "protoset", "proto", "import-path", "use-reflection", "unix",
		},
		"list":     {"plaintext", "unix", "connect-timeout", "protoset-out", "proto-out-dir", "H", "reflect-header"},
		"describe": {"plaintext", "unix", "connect-timeout", "protoset-out", "proto-out-dir", "H", "reflect-header", "msg-template", "format"},
	}
	app := quietProgram().app()
	for cmd, names := range works {
		for _, name := range names {
			if findFlag(app.Command(cmd).Flags, name) == nil {
				t.Errorf("wstun %s has no -%s", cmd, name)
			}
		}
	}
	for _, tt := range []struct{ line, hint string }{
		{"list -alts :1", "wstun has no ALTS: use --tls, with --cacert, --cert and --key"},
		{"call :1 M -alts-handshaker-service x", "wstun has no ALTS: use --tls, with --cacert, --cert and --key"},
		{"call -alts-target-service-account x :1 M", "wstun has no ALTS: use --tls, with --cacert, --cert and --key"},
		{"call -keepalive-time 5 :1 M", "leave it out, or use --ping-interval and --ping-timeout, which are for sessions"},
		{"list -v :1", "leave it out: -v is a flag of wstun call or wstun replay"},
		{"list -d {} :1", "leave it out: -d is a flag of wstun call"},
		{"call -msg-template :1 M", "leave it out: --msg-template is a flag of wstun describe"},
		{"dial -plaintext ws://h/", "leave it out: the URL says whether there is TLS, with ws:// or wss://"},
		{"list -plaintext --tls :1", "leave one of them out"},
		{"list -plaintext=false --tls=false :1", "leave one of them out"},
		{"list -plaintext wss://h/", "leave out --plaintext, or use ws:// instead of wss://"},
		{"list -plaintext https://h/", "leave out --plaintext, or use http:// instead of https://"},
		{"list -plaintext=false ws://h/", "leave it out, or use wss:// instead of ws://"},
		{"list -plaintext -insecure :1", "use --tls instead of --plaintext"},
		{"list -unix ws://h/", "see wstun list --help"},
		{"call :1 M -d", "--data DATA: send the messages DATA, those in a file with @FILE, or those on standard input with @"},
		{"call :1 M {} -d {}", "see wstun call --help"},
		{"list -connect-timeout soon :1", "see wstun list --help"},
	} {
		stdout, stderr, status := runLine(t, tt.line)
		if !strings.HasSuffix(stderr, "\nwstun: hint: "+tt.hint+"\n") || status != exitUsage || stdout != "" {
			t.Errorf("wstun %s: status %d\n%s%swant the hint %s", tt.line, status, stdout, stderr, tt.hint)
		}
	}
	for _, line := range []string{"--version", "-version", "version"} {
		if stdout, stderr, status := runLine(t, line); !strings.HasPrefix(stdout, "wstun ") || stderr != "" || status != exitOK {
			t.Errorf("wstun %s: status %d\n%s%s", line, status, stdout, stderr)
		}
	}
}
