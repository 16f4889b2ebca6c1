//go:build linux || darwin

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A session with all keys: completion, history, Ctrl-C and Ctrl-D.
func TestShellTerminal(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(startCommand(t, "wstun serve"))
	history := filepath.Join(t.TempDir(), "history")
	s := startShell(t, nil, "--history", history, url)

	s.press("l\tHu\t\r") // commands and names
	s.await(`ls Hub .*\r\n(wstun\.demo\.v1\.Hub\.\w+\r\n){7}wstun> $`)
	s.press("call Cr\t{\t") // and fields
	s.await(`call CreateKey \{"name": $`)
	s.press("\"k1\"}\r")
	s.await(`\{\r\n  "name": "k1",\r\n  "secret": "[0-9a-f]{32}",\r\n`)
	s.await(`wstun> $`)
	s.press("call E\t\t")
	s.press(ctrlU + "call \t")
	s.await(`wstun\.demo\.v1\.Hub/Echo\r\n`)

	s.press(ctrlC) // clears the line
	s.await(`\^C\r\nwstun> $`)
	s.press(arrowUp)
	s.await(`call CreateKey \{"name": "k1"\}$`)
	s.press("\r")
	s.await(`Code: AlreadyExists\r\n`)
	s.await(`wstun> $`)
	s.enter("call Ecko", `wstun: unknown method "Ecko"\r\n.*did you mean wstun\.demo\.v1\.Hub/Echo\?`)

	s.press(`call WatchKeys {"tick": "0.01s"}` + "\r")
	s.await(`"snapshot"`)
	s.await(`"tick"`)
	s.await(`"tick"`)
	s.press(ctrlC)
	s.await(`Code: Canceled\r\n`)
	s.await(`wstun> $`)

	s.press("call Echo\r")
	s.await(`Echo> $`)
	s.enter(`{"text": "one"}`, `"text": "one",\r\n  "count": 1\r\n`)
	s.enter(`{"txet": "two"}`, `wstun: not sent: .*unknown field "txet"`)
	s.press(ctrlD)
	s.await(`Echo has ended\.`)
	s.await(`wstun> $`)
	s.press("call Echo\r")
	s.await(`Echo> $`)
	s.press(ctrlC)
	s.await(`Code: Canceled`)
	s.await(`wstun> $`)
	s.press(ctrlD)
	s.wantExit(0)

	info, err := os.Stat(history)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the history has mode %v", info.Mode())
	}
	s = startShell(t, nil, "--history", history, url)
	s.press("call Cr" + ctrlR) // in the history of an earlier session
	s.await(`search 'call Cr': call CreateKey \{"name": "k1"\}$`)
	s.press(ctrlC)
	s.await(`wstun> $`)
	s.press("exit\r")
	s.wantExit(0)
}

// By default the history is a file in the user's state folder. The shell works
// without a history if the file can't be read.
func TestShellHistory(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(startCommand(t, "wstun serve"))
	state := t.TempDir()
	s := startShell(t, []string{"XDG_STATE_HOME=" + state}, url)
	s.enter("set time off", "")
	s.press("exit\r")
	s.wantExit(0)
	text, err := os.ReadFile(filepath.Join(state, "wstun", "shell_history"))
	if err != nil || string(text) != "set time off\nexit\n" {
		t.Errorf("%q, %v", text, err)
	}
	s = startShell(t, []string{"XDG_STATE_HOME=" + state}, "--history", "none", url)
	s.press(arrowUp + "set time on\r")
	s.await(`wstun> $`)
	s.press("exit\r")
	s.wantExit(0)
	if again, _ := os.ReadFile(filepath.Join(state, "wstun", "shell_history")); !bytes.Equal(again, text) {
		t.Errorf("%q was written despite --history none", again)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = startShell(t, nil, "--history", filepath.Join(file, "history"), url)
	s.enter("set time on", "")
	s.press("exit\r")
	s.wantExit(0)
	if !strings.Contains(s.screen.String(), "history not read") {
		t.Error("no warning about a history that can't be read")
	}
}

// SIGTERM ends the shell, also in the middle of a line or of a call.
func TestShellSignal(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(startCommand(t, "wstun serve"))
	for keys, shown := range map[string]string{
		"half a line":          `half a line$`,
		"call WatchKeys\r":     `snapshot`,
		"call Echo\r":          `Echo> $`,
		"call Echo\r{\"te\t\"": `\{"text": "$`,
	} {
		s := startShell(t, nil, url)
		s.press(keys)
		s.await(shown)
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.wantExit(0)
	}
}

// The shell outlives its session: it reports a lost session and a new one, and
// reads the reflection data of the new one again.
func TestShellReconnect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"other.proto": "syntax = \"proto3\";\npackage other;\nservice Other { rpc Say(Word) returns (Word); }\nmessage Word { string word = 1; }\n",
		"other.yaml":  "methods:\n  other.Other/Say:\n    - reply: {word: again}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := startDaemon(t, "wstun", "serve")
	relay := startRelay(t, server.find(t, `^ws://(.*)/$`))
	s := startShell(t, nil, "--wait", "10ms", "--max-retry-interval", "100ms", "ws://"+relay.addr+"/")
	s.enter("ls Hub", `wstun\.demo\.v1\.Hub\.Echo`)
	s.press("call Echo\r")
	s.await(`Echo> $`)
	s.press(`{"text": "half`)
	s.await(`half$`)
	relay.setTarget(t, "")
	server.kill()
	s.await(`wstun: session down: .+\r\n(.|\n)*Code: Unavailable\r\n|Code: Unavailable\r\n(.|\n)*wstun: session down: .+\r\n`)
	s.await(`wstun> \{"text": "half$`) // the line that was being typed
	s.press(ctrlC)
	s.await(`wstun> $`)
	s.enter("ls Hub", `wstun: no session: .+\r\n`)
	s.enter("call Echo {}", `wstun: no session: .+\r\n`)

	other := startDaemon(t, "wstun", "serve", "--stub", filepath.Join(dir, "other.yaml"), "--proto", filepath.Join(dir, "other.proto"))
	relay.setTarget(t, other.find(t, `^ws://(.*)/$`))
	s.await(`wstun: session up\r\n`)
	s.await(`wstun> $`)
	s.enter("ls Hub", `wstun: unknown service "Hub"\r\n`)
	s.press("call S\t{\t")
	s.await(`call Say \{"word": $`)
	s.press("\"\"}\r")
	s.await(`"word": "again"`)
	s.press(ctrlD)
	s.wantExit(0)
}

// The shell also outlives its connection to a plain gRPC server.
func TestShellReconnectPlain(t *testing.T) {
	t.Parallel()
	server := startDaemon(t, "grpcserver", "v1")
	relay := startRelay(t, server.find(t, `^127.*$`))
	s := startShell(t, nil, "--wait", "10ms", "--max-retry-interval", "100ms", relay.addr)
	s.enter("ls Hub", `wstun\.demo\.v1\.Hub\.Echo`)
	relay.setTarget(t, "")
	server.kill()
	s.await(`wstun: connection down: .+\r\n`)
	s.enter("ls Hub", `wstun: no connection: .+\r\n`)
	relay.setTarget(t, startDaemon(t, "grpcserver", "v1").find(t, `^127.*$`))
	s.await(`wstun: connection up\r\n`)
	s.await(`wstun> $`)
	s.enter(`call Echo {"text": "back"}`, `"text": "back"`)
	s.press(ctrlD)
	s.wantExit(0)
}

// The shell reports that its server is draining while a call is open.
func TestShellDraining(t *testing.T) {
	t.Parallel()
	serve := startDaemon(t, "wstun", "serve")
	url := serve.find(t, `^ws://.*$`)
	dial := startDaemon(t, "wstun", "dial", url)
	for _, test := range []struct {
		server           *process // the one that is stopped
		target, draining string
	}{
		{dial, dial.find(t, `^127.*$`), `wstun: connection down: the server is draining: `},
		{serve, url, `wstun: session draining: the server takes no new calls, and lets open ones finish\r\n`},
	} {
		s := startShell(t, nil, test.target)
		s.press("call Echo\r")
		s.await(`Echo> $`)
		s.enter(`{"text": "one"}`, `"text": "one"`)
		if err := test.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.await(test.draining)
		s.enter(`{"text": "two"}`, `"text": "two"`)
		s.press(".close\r")
		s.await(`Echo has ended\.`)
		s.press(ctrlD)
		s.wantExit(0)
	}
}

// movingRelay is the program relay, and the file with its target.
type movingRelay struct{ addr, file string }

func startRelay(t *testing.T, target string) movingRelay {
	t.Helper()
	r := movingRelay{file: filepath.Join(t.TempDir(), "target")}
	r.setTarget(t, target)
	r.addr = startDaemon(t, "relay", r.file).find(t, `^127.*$`)
	return r
}

// setTarget sets the target of connections from now on. If target is empty,
// relay closes them at once.
func (r movingRelay) setTarget(t *testing.T, target string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(target), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A hostile peer's text at the prompt, and in the lists and completions of Tab.
func TestHostilePeerAtPrompt(t *testing.T) {
	t.Parallel()
	s := startShell(t, nil, "--token-file", writeHostileToken(t), startHostilePeer(t).ws+"/ws")
	s.enter("ls", `hostile\.Hostile\r\n`)
	s.press("desc hostile.T\t\r")
	s.await(`optional string text`)
	s.await(`wstun> $`)
	s.press("call hostile.Hostile/\t")
	s.await(`hostile\.Hostile/Token`)
	s.press("Say {\t")
	s.await(`\{"any": $`) // the other fields have hostile names
	s.press(ctrlC)
	s.await(`wstun> $`)
	s.enter("call hostile.Hostile/Say", `forged`)
	s.enter("call hostile.Hostile/Fail", `Code: Aborted`)
	s.enter("call hostile.Hostile/Say {1}", `wstun: not sent`)
	s.press("call hostile.Hostile/Stream\r")
	s.await(`Stream> $`)
	s.press("{\t")
	s.await(`\{"any": $`)
	s.press(ctrlC)
	s.await(`Stream> $`)
	s.press(ctrlC)
	s.await(`Code: Canceled`)
	s.await(`wstun> $`)
	s.press(ctrlD)
	s.wantExit(0)

	screen := s.screen.String()
	if strings.Contains(screen, "\x1b[2J") || strings.Contains(screen, "\x1b]") {
		t.Errorf("the peer's escape sequences reach the terminal: %q", screen)
	}
	wantClean(t, terminalOutput.ReplaceAllString(screen, ""))
}

// terminalOutput matches control characters of the line editor.
var terminalOutput = regexp.MustCompile(`\x1b\[[?0-9;]*[A-Za-z]|[\r\a]`)
