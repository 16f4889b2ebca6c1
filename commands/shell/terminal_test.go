package shell

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
)

// testTerminal is a Terminal with a keyboard and a screen in memory.
type testTerminal struct {
	*Terminal
	t      *testing.T
	in     *io.PipeWriter
	screen *screen
}

func newTestTerminal(t *testing.T) *testTerminal {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	screen := newScreen()
	return &testTerminal{NewTerminal(r, screen), t, w, screen}
}

// press types keys, without waiting until they are read.
func (k *testTerminal) press(keys string) {
	k.t.Helper()
	go func() { _, _ = io.WriteString(k.in, keys) }()
}

// wantLine reads a line and checks it.
func (k *testTerminal) wantLine(line string, werr error) {
	k.t.Helper()
	got, err := k.ReadLine(k.t.Context())
	if got != line || !errors.Is(err, werr) {
		k.t.Errorf("ReadLine = %q, %v; want %q, %v", got, err, line, werr)
	}
	if err == nil {
		k.Remember(got)
	}
}

func TestTerminalKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		keys, line string
		err        error
	}{
		{"ls Hub\r", "ls Hub", nil},
		{"ab\x03", "ab", ErrInterrupted},
		{"\x03", "", ErrInterrupted},
		{"\x04", "", io.EOF},
		{"abc\x1b[D\x04\r", "ab", nil},              // Ctrl-D in a line deletes
		{"bc\x1bOHa\x1b[4~d\r", "abcd", nil},        // home and end of some terminals
		{"bc\x1b[1~a\x1b[8~d\r", "abcd", nil},       // and of others
		{"a c\x1b[1;5Db \r", "a b c", nil},          // word by word
		{"a c\x1bbb \x1bfd\r", "a b cd", nil},       // and with Emacs' keys
		{"ab\x1b[5~\x1b[200;\x1bOZc\r", "abc", nil}, // unknown keys
		{"a\x1b\x03", "a", ErrInterrupted},          // Ctrl-C after a lone Escape
		{"a\x1b\r", "a", nil},
		{"a\x1b[" + strings.Repeat("1", 34) + "b\r", "a111b", nil}, // no sequence is that long
		{"\xc3\xa4\xe2\x82\xac\r", "ä€", nil},
		{"a\xc3\x03", "a", ErrInterrupted}, // half a character
		{"a\xffb\xc3c\r", "abc", nil},
		{"a\x1c\x1d\x1e\x1fb\r", "ab", nil}, // the internal stand-ins are ignored
		{"\x1b[200~{\"a\":\t1}\x01\x1b[201~\r", `{"a": 1}`, nil},
		{"\x1b[200~never ends\x03", "never ends", ErrInterrupted},
	} {
		k := newTestTerminal(t)
		k.press(test.keys)
		k.wantLine(test.line, test.err)
	}
}

// A paste may exceed the length of a typed line, and its tabs don't complete.
func TestTerminalPaste(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	k.Complete = func(string) Completion {
		t.Error("completed a paste")
		return Completion{}
	}
	long := strings.Repeat("x\t", 10000)
	k.press("\x1b[200~" + long + "\rls\x1b[201~\r")
	k.wantLine(strings.ReplaceAll(long, "\t", " "), nil)
	k.wantLine("ls", nil)
}

func TestTerminalHistory(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	for _, line := range []string{"call Echo", "ls Hub", "call Sum"} {
		k.press(line + "\r")
		k.wantLine(line, nil)
	}
	k.press("secret\x03")
	k.wantLine("secret", ErrInterrupted) // not kept
	k.press("\x1b[A\r")
	k.wantLine("call Sum", nil)
	k.press("\x1b[A\x1b[A\x1bOB\r")
	k.wantLine("call Sum", nil)
	k.press("\x1b[A\x03")
	k.wantLine("call Sum", ErrInterrupted)
	k.press("\x1b[A\x1b[A\r") // from the newest again
	k.wantLine("ls Hub", nil)
}

func TestTerminalComplete(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	var asked string
	k.Complete = func(text string) Completion {
		asked = text
		c := Completion{Start: strings.LastIndex(text, " ") + 1}
		for _, name := range []string{"Echo", "Echidna", "Sum"} {
			if strings.HasPrefix(name, text[c.Start:]) {
				c.Candidates = append(c.Candidates, Candidate{Text: name + " ", Label: name + "!"})
			}
		}
		return c
	}
	k.press("call S\t{}\r")
	k.wantLine("call Sum {}", nil)
	k.press("S x\x1b[D\x1b[D\t\r")
	k.wantLine("Sum  x", nil)
	if asked != "S" {
		t.Errorf("asked for %q, want the text before the cursor", asked)
	}
	k.press("call E\t\r")
	k.wantLine("call Ech", nil)
	k.screen.await(t, `Echo! +Echidna!\r\n`)
	k.press("none\t\r")
	k.wantLine("none", nil)
	k.screen.await(t, "\a")
	k.Complete = nil
	k.press("a\tb\r")
	k.wantLine("ab", nil)
}

func TestFormatCandidates(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	k.Size = func() (int, int) { return 20, 24 }
	var many []Candidate
	for range 300 {
		many = append(many, Candidate{Text: "aaaaaa "})
	}
	if got, want := string(k.formatCandidates(many[:5])), "aaaaaa  aaaaaa\naaaaaa  aaaaaa\naaaaaa\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := string(k.formatCandidates(many)); !strings.HasSuffix(got, "… and 100 more\n") {
		t.Errorf("%q doesn't count the rest", got)
	}
	many[0].Label = strings.Repeat("l", 50) // wider than the screen
	if got := string(k.formatCandidates(many[:2])); strings.Count(got, "\n") != 2 {
		t.Errorf("%q, want a line each", got)
	}
}

// Output appears above the line that is being typed, which stays editable.
func TestTerminalWrite(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	k.SetPrompt("> ")
	read := make(chan string, 1)
	go func() {
		line, _ := k.ReadLine(t.Context())
		read <- line
	}()
	k.press("half")
	k.screen.await(t, "half")
	if _, err := io.WriteString(k, "a response\nof two lines\n"); err != nil {
		t.Error(err)
	}
	k.screen.await(t, `\x1b\[K.*a response\r\nof two lines\r\n> half`)
	k.SetPrompt("Echo> ")
	k.screen.await(t, `Echo> half`)
	k.press(" a line\r")
	if line := <-read; line != "half a line" {
		t.Errorf("read %q", line)
	}
}

// Ctrl-C while no line is being read calls Interrupt and drops the keys typed ahead.
func TestTerminalInterrupt(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	interrupted := make(chan struct{})
	var n atomic.Int32
	k.Interrupt = func() {
		n.Add(1)
		close(interrupted)
	}
	k.press("first\r")
	k.wantLine("first", nil)
	k.press("typed ahead\x03next\r")
	<-interrupted
	k.wantLine("next", nil)
	if n.Load() != 1 {
		t.Errorf("interrupted %d times", n.Load())
	}
}

func TestTerminalContext(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	cause := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := k.ReadLine(ctx)
		ended <- err
	}()
	k.press("half")
	k.screen.await(t, "half")
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	k.Close()
	k.screen.await(t, `\r\n\x1b\[\?2004l$`)
}

// ReadLine returns an error of the input.
func TestTerminalReadError(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	gone := errors.New("gone")
	k.in.CloseWithError(gone)
	k.wantLine("", gone)
}

func TestTerminalResize(t *testing.T) {
	t.Parallel()
	k := newTestTerminal(t)
	var width atomic.Int32
	width.Store(80)
	k.Size = func() (int, int) { return int(width.Load()), 24 }
	k.SetPrompt("> ")
	read := make(chan string, 1)
	go func() {
		line, _ := k.ReadLine(t.Context())
		read <- line
	}()
	k.press("0123456789")
	k.screen.await(t, "9")
	width.Store(8) // takes effect with the next key
	k.press("a")
	k.screen.await(t, `> 012345\r\n6789`)
	k.press("\r")
	if line := <-read; line != "0123456789a" {
		t.Errorf("read %q", line)
	}
}
