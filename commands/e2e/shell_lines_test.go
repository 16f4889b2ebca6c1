//go:build linux || darwin

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// paste returns the keys of a terminal that pastes text.
func paste(text string) string {
	return "\x1b[200~" + strings.ReplaceAll(text, "\n", "\r") + "\x1b[201~"
}

// A template can be pasted after a method, inside a call, and typed; Ctrl-C discards all of
// its lines.
func TestShellPaste(t *testing.T) {
	t.Parallel()
	s := startShell(t, nil, "--compact", strings.TrimSpace(startCommand(t, "wstun serve")))
	s.press("describe --msg-template EchoRequest\r")
	template := s.match(`\{\r\n  "text": "",\r\n  "end": false\r\n\}`)
	s.await(`wstun> $`)
	template = strings.ReplaceAll(template, "\r", "")

	s.press("call Echo " + paste(template))
	s.await(`call Echo \{\r\n  \.\.\.>   "text": "",\r\n  \.\.\.>   "end": false\r\n  \.\.\.> \}$`)
	s.enter("", `\{"count":1\}\r\n`)
	s.press("call Echo\r")
	s.await(`Echo> $`)
	s.press(paste(template + "\n" + template + "\n"))
	s.await(`\{"count":2\}\r\n`)
	s.await(`Echo> $`)
	s.press("{\r")
	s.await(`  \.\.\.> $`)
	s.press("\"te\t")
	s.await(`"text": $`)
	s.press("\"a\"\r}\r")
	s.await(`\{"text":"a","count":3\}\r\n`)
	s.await(`Echo> $`)
	s.press("{\r")
	s.await(`  \.\.\.> $`)
	s.press("\"end\"" + ctrlC)
	s.await(`\^C\r\nEcho> $`)
	s.press(arrowUp)
	s.await(`\{ *"text": *"a" \}$`)
	s.press("\r")
	s.await(`\{"text":"a","count":4\}\r\n`)
	s.press(ctrlD)
	s.await(`Echo has ended`)
	s.await(`wstun> $`)
	s.press(ctrlD)
	s.wantExit(0)
}

// Output appears above the continuation of a message, which stays editable, and its prompt
// remains when the call ends.
func TestShellOutputAboveLines(t *testing.T) {
	t.Parallel()
	serve := startDaemon(t, "wstun", "serve")
	s := startShell(t, nil, "--compact", serve.find(t, `^(ws://.*)$`))
	s.press("call Echo\r")
	s.await(`Echo> $`)
	signal := func(sig syscall.Signal) {
		if err := serve.cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
	}
	signal(syscall.SIGSTOP) // the call doesn't end before the lines are there
	s.press(`{"text": "last", "end": true}` + "\r{\r" + `"text": "ty`)
	s.await(`  \.\.\.> "text": "ty$`)
	signal(syscall.SIGCONT)
	s.await(`\{"text":"last","count":1\}\r\n(.|\n)*Echo has ended\.\r\n(.|\n)*  \.\.\.> "text": "ty$`)
	s.press("ped\"}\r")
	s.await(`no call is open`)
	s.await(`wstun> $`)
	s.press(ctrlD)
	s.wantExit(0)
}

// Commands inside a call.
func TestShellInCall(t *testing.T) {
	t.Parallel()
	s := startShell(t, nil, strings.TrimSpace(startCommand(t, "wstun serve")))
	s.press("call Sum\r")
	s.await(`Sum> $`)
	for _, line := range []string{"exit", "ls", "call Echo {}"} {
		s.enter(line, `wstun: ".*": lines are messages now: use \.close, \.cancel or \.help\r\n`)
	}
	s.enter(".help", `\.close +end the messages`)
	s.enter(".desc", `message SumRequest \{`)
	s.enter(".clos", `hint: did you mean \.close\?`)
	s.press(".close\r")
	s.await(`Sum has ended`)
	s.await(`wstun> $`)
	s.press("exit\r")
	s.wantExit(0)
}

// Values of the last response in JSON and metadata, and responses in a file.
func TestShellValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startShell(t, nil, "--compact", strings.TrimSpace(startCommand(t, "wstun serve")))
	file := filepath.Join(dir, "key.json")
	s.enter(`call CreateKey {"name": "k"} > `+file, "")
	s.enter(`call Echo {"text": $.name}`, `\{"text":"k","count":1\}`)
	s.enter(`header x-count: $.count`, "")
	s.enter(`header`, `x-count: 1\r\n`)
	s.enter(`call Echo {"text": $.txet}`, `wstun: \$\.txet: the last response has no such field\r\n.*hint: did you mean \$\.text\?`)
	s.enter(`call DeleteKey {"name": $.text}`, "")
	s.press("exit\r")
	s.wantExit(0)
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), `{"name":"k","secret":`) {
		t.Errorf("%s, %v", text, err)
	}
}

// list and describe are those of the command line; clear, near names, and the search in the
// history while its text is typed.
func TestShellCommands(t *testing.T) {
	t.Parallel()
	s := startShell(t, nil, strings.TrimSpace(startCommand(t, "wstun serve")))
	s.enter("list Hub", `wstun\.demo\.v1\.Hub\.Echo\r\n`)
	s.enter("describe Hub.Echo", `Hub\.Echo is a method:`)
	s.enter("describe", `wstun\.demo\.v1\.Hub is a service:`)
	s.enter("lsit", `wstun: unknown command "lsit"\r\n.*hint: did you mean (ls|list)\b`)
	s.enter("clear", `\x1b\[2J\x1b\[H`)
	s.press(ctrlR)
	s.await(`search '': $`)
	s.press("desc")
	s.await(`search 'desc': describe$`)
	s.press(ctrlR)
	s.await(`describe Hub\.Echo$`)
	s.press("x")
	s.await(`search 'descx': +(\x1b\[\d*D)?$`)
	s.press("\x7f\r")
	s.await(`is a service:`)
	s.await(`wstun> $`)
	s.press(ctrlD)
	s.wantExit(0)
}
