package shell

import (
	"io"
	"testing"
)

// Ctrl-R searches the history while the user types.
func TestSearchHistory(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		keys, line string
		err        error
	}{
		{"\x12Ec\r", `call Echo {"text": "ä"}`, nil},
		{"Ec\x12\r", `call Echo {"text": "ä"}`, nil}, // begins with the text in the line
		{"\x12call\r", "call Sum", nil},
		{"\x12call\x12\r", `call Echo {"text": "ä"}`, nil},
		{"\x12call\x12\x12\x12\r", `call Echo {"text": "ä"}`, nil}, // there is no older one
		{"\x12callx\x7f\r", "call Sum", nil},
		{"\x12ä\x08Hub\r", "ls Hub", nil},
		{"\x12ä\r", `call Echo {"text": "ä"}`, nil},
		{"none\x12\r", "none", nil},
		{"ls\x12\x07x\r", "lsx", nil},           // Ctrl-G
		{"\x12Hub\x1b[D\x7fu\r", "ls Hub", nil}, // any other key edits the command
		{"\x12Hub\x05!\r", "ls Hub!", nil},
		{"\x12Hub\x03", "ls Hub", ErrInterrupted},
		{"\x12\x04", "", io.EOF},
		{"\x12Sum\x1b[200~ {}\x1b[201~\r", "call Sum {}", nil}, // a paste
	} {
		k := newTestTerminal(t)
		k.SetPrompt("> ")
		for _, command := range []string{`call Echo {"text": "ä"}`, "ls Hub", "call Sum", "call Sum "} {
			k.Remember(command)
		}
		k.press(test.keys)
		k.wantLine(test.line, test.err)
	}
}

// The prompt of a search has its text and the command. Output appears above it.
func TestSearchPrompt(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	k.SetPrompt("> ")
	k.Remember("ls\x1b[2J")
	read := make(chan string, 1)
	go func() {
		line, _ := k.ReadLine(t.Context())
		read <- line
	}()
	k.press("\x12l")
	k.screen.await(t, `search 'l': ls\\x1b\[2J`)
	if _, err := io.WriteString(k, "a response\n"); err != nil {
		t.Error(err)
	}
	k.screen.await(t, `a response\r\nsearch 'l': ls`)
	k.SetPrompt("Echo> ") // after the search
	k.press("o")
	k.screen.await(t, `search 'lo': $`)
	k.press("\x07")
	k.screen.await(t, `Echo> `)
	k.press("x\r")
	if line := <-read; line != "x" {
		t.Errorf("read %q", line)
	}
}
