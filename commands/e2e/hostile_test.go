//go:build unix

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// One hostile peer, and every place that prints its text.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	peer := startHostilePeer(t)
	tokenFile := writeHostileToken(t)
	token := "--token-file=" + tokenFile
	header := "-H\tauthorization: Bearer " + hostileToken
	var lines []string // command lines, with tabs between the words
	for _, target := range []string{token + "\t" + peer.ws + "/ws", header + "\t" + peer.plain} {
		header := "\t--rpc-header\tx-token: " + hostileToken + "\t"
		lines = append(lines,
			"list\t"+target,
			"list\t"+target+"\thostile.Hostile",
			"list\t"+target+"\thostile.Hostel",
			"describe\t"+target,
			"describe\t"+target+"\thostile.Hostile",
			"describe\t"+target+"\thostile.Hostile.Say",
			"describe\t--msg-template\t"+target+"\thostile.Text",
			"describe\t--msg-template\t--format\ttext\t"+target+"\thostile.Text",
			"call\t"+target+"\tNope",
			"call\t-d\t{\"nope\": 1}\t"+target+"\thostile.Hostile/Say",
			"shell\t"+target,
		)
		for _, flags := range []string{
			"", "\t--compact", "\t--pretty", "\t--format\ttext", "\t--format\ttext\t--pretty", "\t-v", "\t-vv", "\t--output\tjson", "\t--proto-names",
			"\t--format-error", "\t--format-error\t--format\ttext", "\t--format-error\t--format\ttext\t--pretty", "\t-vv\t--format\ttext",
		} {
			for _, method := range []string{"Say", "Fail"} {
				lines = append(lines, "call"+flags+header+target+"\thostile.Hostile/"+method)
			}
		}
	}
	urls := []string{peer.ws + "/ws", peer.ws + "/noise", peer.ws + "/refuse", peer.ws + "/malformed", peer.wss + "/ws", peer.noise + "/"}
	for _, form := range tokenForms() {
		urls = append(urls, peer.ws+"/close/"+strings.NewReplacer("%", "%25", "/", "%2F").Replace(form))
	}
	for _, url := range urls {
		lines = append(lines, "list\t"+token+"\t"+url, "check\t"+token+"\t"+url, "check\t--output\tjson\t"+token+"\t"+url)
		if strings.HasPrefix(url, "wss:") {
			lines = append(lines, "check\t--insecure\t"+token+"\t"+url, "check\t--insecure\t--output\tjson\t"+token+"\t"+url)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		lines = append(lines, "__complete\t"+shell+"\tlist\t"+peer.ws+"/ws\t", "__complete\t"+shell+"\tcall\t"+peer.ws+"/ws\t", "__complete\t"+shell+"\tdescribe\t"+peer.ws+"/ws\t")
	}
	for _, line := range lines {
		t.Run(strings.ReplaceAll(line, "\t", " "), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "wstun", strings.Split(line, "\t")...)
			cmd.Env = append(environ(), "XDG_CACHE_HOME="+t.TempDir(), "WSTUN_COMPLETION_TIMEOUT=30s")
			cmd.Stdin = strings.NewReader(hostileScript)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run() // any status
			if stdout.Len()+stderr.Len() == 0 {
				t.Error("no output")
			}
			wantClean(t, stdout.String())
			wantClean(t, stderr.String())
			if strings.Contains(line, "--output\tjson") {
				for text := range strings.Lines(stdout.String()) {
					if !json.Valid([]byte(text)) || strings.Contains(text, `"event":"error"`) {
						t.Errorf("not JSON: %s", text)
					}
				}
			}
		})
	}
}

// writeHostileToken returns the path of a file with the token.
func writeHostileToken(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(hostileToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostileScript is for wstun shell.
const hostileScript = `ls
ls hostile.Hostile
ls hostile.Hostel
desc hostile.Text hostile.Hostile
call hostile.Hostile/Say
call hostile.Hostile/Say {"nope": 1}
header x-token: ` + hostileToken + `
header
call hostile.Hostile/Stream
{}
.close
call hostile.Hostile/Fail
`

// The logs of commands that run until stopped, and their events.
func TestHostilePeerLogs(t *testing.T) {
	t.Parallel()
	peer := startHostilePeer(t)
	tokenFile := writeHostileToken(t)
	for _, command := range []string{"serve", "dial"} {
		for _, format := range []string{"text", "json"} {
			for _, url := range []string{peer.ws + "/close/" + strings.ReplaceAll(hostileToken, "/", "%2F"), peer.ws + "/noise", peer.noise + "/"} {
				t.Run(command+" "+format+" "+url, func(t *testing.T) {
					t.Parallel()
					p := startDaemon(t, "wstun", command, "--log-level", "debug", "--log-format", format, "--output", "json", "--token-file", tokenFile, url)
					p.find(t, `"event":"retry"`)
					p.find(t, `level\W+WARN.*retry`)
					p.kill()
					wantClean(t, string(p.streams[0]))
					wantClean(t, string(p.streams[1]))
				})
			}
		}
	}
}

// The logs of the accepting side: refused handshakes, and a session that ends.
func TestHostileDialer(t *testing.T) {
	t.Parallel()
	tokenFile := writeHostileToken(t)
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			p := startDaemon(t, "wstun", "serve", "--log-level", "debug", "--log-format", format, "--output", "json", "--token-file", tokenFile)
			url := p.find(t, `"url":"(ws:[^"]*)"`)
			_, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url+"%1b[2J%0a"+hostileToken, http.Header{"Authorization": {"Bearer " + hostileToken}, "Origin": {"http://" + hostileHeader()}})
			if err == nil || resp == nil {
				t.Fatalf("a handshake with a wrong Origin: %v", err)
			}
			resp.Body.Close()
			p.find(t, `code\W+403`)
			conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, http.Header{"Authorization": {"Bearer " + hostileToken}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			defer resp.Body.Close()
			if err := conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, controls+forgery)); err != nil {
				t.Fatal(err)
			}
			p.find(t, `"event":"session_down"`)
			p.find(t, `msg\W+session down`)
			p.kill()
			wantClean(t, string(p.streams[0]))
			wantClean(t, string(p.streams[1]))
		})
	}
}

// RPC messages are exact: neither a token nor a value is changed.
func TestHostilePeerMessages(t *testing.T) {
	t.Parallel()
	peer := startHostilePeer(t)
	run := func(args ...string) string {
		args = append([]string{"call", "--proto-names", "-H", "authorization: Bearer " + hostileToken}, args...)
		out, err := exec.CommandContext(t.Context(), "wstun", args...).Output()
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		return string(out)
	}
	if got, want := run(peer.plain, "hostile.Hostile/Token"), `{"text":"`+hostileToken+`"}`+"\n"; got != want {
		t.Errorf("a message with the token: %q, want %q", got, want)
	}
	var message struct{ Text string }
	if err := json.Unmarshal([]byte(run(peer.plain, "hostile.Hostile/Say")), &message); err != nil || message.Text != "begin"+controls+forgery+"end" {
		t.Errorf("a message with control characters: %q, %v", message.Text, err)
	}
}

// A mistyped URL may be quoted, but not its password.
func TestMistypedURLs(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	for _, url := range []string{
		"ws:/user:pw@host", "wss//u:p@h", "ws//user:pw@host/path", "user:pw@host:1", "ws:user:pw@host", "ws://user:p w@host", "ws://user:p#w@host/",
		"wsx://user:pw@host", "ws://user:pw@host:port", "ws://user:pw@host/#x", "http:/user:pw@host:1",
	} {
		for _, args := range [][]string{
			{"dial", url},
			{"serve", url},
			{"list", url},
			{"describe", url},
			{"call", url, "M"},
			{"shell", url},
			{"check", url},
			{"dial", "ws://h/", url},
			{"list", "h:1", "a", url},
			{"dial", "--max-sessions", url},
			{"dial", "--wait=" + url},
			{"dial", url, "--wait", "1s"},
			{url},
			{"help", url},
			{"completion", url},
			{"dial", "--accept", url},
			{"dial", "--proxy", url, "ws://h/"},
			{"list", "--proxy", url, "192.0.2.1:1"},
			{"serve", "--upstream", url},
			{"call", "--format", url, "h:1", "M"},
			{"dial", "-HX: " + url},
			{"dial", "--bad=" + url},
			{"demo", url},
			{"version", url},
		} {
			cmd := exec.CommandContext(t.Context(), "wstun", args...)
			cmd.Env = append(environ(), "WSTUN_CONNECT_TIMEOUT=1ms", "WSTUN_MAX_RETRIES=0")
			out, err := cmd.CombinedOutput()
			for _, password := range []string{"pw@", ":pw", ":p@", "p w", "p#w", "w@"} {
				if err == nil || strings.Contains(string(out), password) {
					t.Errorf("wstun %q: %v\n%s", args, err, out)
					break
				}
			}
		}
	}
}

// wantClean requires that text has no characters that a terminal interprets or hides, no
// forged line, and no token.
func wantClean(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("invalid UTF-8 in %q", text)
	}
	for _, c := range text {
		if unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector) {
			t.Errorf("%U in %q", c, text)
			break
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "wstun: hint: forged") || strings.HasPrefix(line, "wstun: forged") {
			t.Errorf("a forged line: %q", text)
		}
	}
	for _, form := range tokenForms() {
		if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
			t.Errorf("the token as %s in %q", form, text)
		}
	}
}
