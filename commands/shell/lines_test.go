package shell

import (
	"errors"
	"testing"
)

// A command whose JSON has several lines is one line of the history.
func TestReadLineContinues(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	s := &Shell{Input: k, Interactive: true}
	s.setPrompt()
	k.press("call Echo {\r  \"text\":\r\"a  b\"}\rls \\\rHub\r\x03")
	for _, want := range []string{"call Echo {\n  \"text\":\n\"a  b\"}", "ls Hub"} {
		if got, err := s.readLine(t.Context()); got != want || err != nil {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	k.screen.await(t, `wstun> .*\r\n  \.\.\.> .*\r\n  \.\.\.> .*\r\n.*wstun> ls .*\r\n  \.\.\.> Hub\r\n`)
	for i, want := range []string{"ls Hub", `call Echo { "text": "a  b"}`} {
		if got := k.History.At(i); got != want {
			t.Errorf("the history has %q, want %q", got, want)
		}
	}
}

// Ctrl-C discards all lines of a command.
func TestReadLineInterrupted(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	s := &Shell{Input: k, Interactive: true}
	k.press("call Echo {\r\x03ls\r")
	if got, err := s.readLine(t.Context()); got != "call Echo {\n" || !errors.Is(err, ErrInterrupted) {
		t.Errorf("read %q, %v", got, err)
	}
	if got, err := s.readLine(t.Context()); got != "ls" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestCountBraces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string
		open int
		ok   bool
	}{
		{"", 0, true},
		{`{"a": [`, 2, true},
		{`"]}": "\"}"}`, -1, true},
		{`{"a": "{`, 1, false},
		{`{} > {`, 0, true},
		{`{">": {`, 2, true},
	} {
		if open, ok := countBraces(test.line); open != test.open || ok != test.ok {
			t.Errorf("countBraces(%s) = %d, %v; want %d, %v", test.line, open, ok, test.open, test.ok)
		}
	}
}

// Completion knows the lines before the last one.
func TestCompleteContinued(t *testing.T) {
	t.Parallel()
	s := &Shell{Target: hubTarget(t), partial: []byte("call Echo {\n")}
	if got, want := formatCompletion(s.Complete(`  "te`), `  "te`), `  |"text": `; got != want {
		t.Errorf("completed to %q, want %q", got, want)
	}
}

// The template that describe --msg-template prints can be pasted after call METHOD, and inside a call.
func TestPasteTemplate(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := runScript(t, "describe --msg-template EchoRequest\nlist Hub\n", nil)
	if err != nil || stderr != "" {
		t.Fatal(stderr, err)
	}
	template, ok := cutBetween(stdout, "\nMessage template:\n", "\nwstun.demo.v1.Hub.")
	if !ok {
		t.Fatalf("no template in %q", stdout)
	}
	stdout, stderr, err = runScript(t, "call Echo "+template+"\ncall Echo\n"+template+"\n.close\n", nil)
	if want := "{\"count\":1}\n{\"count\":1}\n"; stdout != want || stderr != "" || err != nil {
		t.Errorf("stdout %q, want %q; %s, %v", stdout, want, stderr, err)
	}
}
