//go:build linux || darwin

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A session of somebody who uses all keys.
func TestShellTerminal(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(stay(t, "wstun serve"))
	history := filepath.Join(t.TempDir(), "history")
	s := sit(t, nil, "--history", history, url)

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
	s.wantEnd(0)

	info, err := os.Stat(history)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the history has mode %v", info.Mode())
	}
	s = sit(t, nil, "--history", history, url)
	s.press("call Cr\x12") // Ctrl-R, in the history of another time
	s.await(`call CreateKey \{"name": "k1"\}$`)
	s.press(ctrlC)
	s.await(`wstun> $`)
	s.press("exit\r")
	s.wantEnd(0)
}

// By default the history is among the user's files; one that can't be written is none.
func TestShellHistory(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(stay(t, "wstun serve"))
	state := t.TempDir()
	s := sit(t, []string{"XDG_STATE_HOME=" + state}, url)
	s.enter("set time off", "")
	s.press("exit\r")
	s.wantEnd(0)
	text, err := os.ReadFile(filepath.Join(state, "wstun", "shell_history"))
	if err != nil || string(text) != "set time off\nexit\n" {
		t.Errorf("%q, %v", text, err)
	}
	s = sit(t, []string{"XDG_STATE_HOME=" + state}, "--history", "none", url)
	s.press(arrowUp + "set time on\r")
	s.await(`wstun> $`)
	s.press("exit\r")
	s.wantEnd(0)
	if again, _ := os.ReadFile(filepath.Join(state, "wstun", "shell_history")); !bytes.Equal(again, text) {
		t.Errorf("%q was written in spite of none", again)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = sit(t, nil, "--history", filepath.Join(file, "history"), url)
	s.enter("set time on", "")
	s.press("exit\r")
	s.wantEnd(0)
	if !strings.Contains(s.screen(), "history not read") {
		t.Error("nothing is said of a history that can't be read")
	}
}

// SIGTERM ends the shell, also in the middle of a line or of a call.
func TestShellSignal(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(stay(t, "wstun serve"))
	for keys, shown := range map[string]string{
		"half a line":          `half a line$`,
		"call WatchKeys\r":     `snapshot`,
		"call Echo\r":          `Echo> $`,
		"call Echo\r{\"te\t\"": `\{"text": "$`,
	} {
		s := sit(t, nil, url)
		s.press(keys)
		s.await(shown)
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.wantEnd(0)
	}
}

// The shell outlives its session: what is lost is told, and what comes back is asked
// anew.
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
	addr, kill := start(t, `ws://(.*)/`, "wstun", "serve")
	relay := newSwitchable(t, addr)
	s := sit(t, nil, "--wait", "10ms", "--max-retry-interval", "100ms", "ws://"+relay.addr+"/")
	s.enter("ls Hub", `wstun\.demo\.v1\.Hub\.Echo`)
	s.press("call Echo\r")
	s.await(`Echo> $`)
	s.press(`{"text": "half`)
	s.await(`half$`)
	relay.switchTo("")
	kill()
	s.await(`wstun: session down: .+\r\n(.|\n)*Code: Unavailable\r\n|Code: Unavailable\r\n(.|\n)*wstun: session down: .+\r\n`)
	s.await(`wstun> \{"text": "half$`) // what was being typed is still there
	s.press(ctrlC)
	s.await(`wstun> $`)
	s.enter("ls Hub", `wstun: no session: .+\r\n`)
	s.enter("call Echo {}", `wstun: no session: .+\r\n`)

	addr, _ = start(t, `ws://(.*)/`, "wstun", "serve", "--stub", filepath.Join(dir, "other.yaml"), "--proto", filepath.Join(dir, "other.proto"))
	relay.switchTo(addr)
	s.await(`wstun: session up\r\n`)
	s.await(`wstun> $`)
	s.enter("ls Hub", `wstun: unknown service "Hub"\r\n`)
	s.press("call S\t{\t")
	s.await(`call Say \{"word": $`)
	s.press("\"\"}\r")
	s.await(`"word": "again"`)
	s.press(ctrlD)
	s.wantEnd(0)
}

// So it does with a plain server.
func TestShellReconnectPlain(t *testing.T) {
	t.Parallel()
	addr, kill := start(t, `(127.*)\n`, "grpcserver", "v1")
	relay := newSwitchable(t, addr)
	s := sit(t, nil, "--wait", "10ms", "--max-retry-interval", "100ms", relay.addr)
	s.enter("ls Hub", `wstun\.demo\.v1\.Hub\.Echo`)
	relay.switchTo("")
	kill()
	s.await(`wstun: connection down: .+\r\n`)
	s.enter("ls Hub", `wstun: no connection: .+\r\n`)
	addr, _ = start(t, `(127.*)\n`, "grpcserver", "v1")
	relay.switchTo(addr)
	s.await(`wstun: connection up\r\n`)
	s.await(`wstun> $`)
	s.enter(`call Echo {"text": "back"}`, `"text": "back"`)
	s.press(ctrlD)
	s.wantEnd(0)
}
