package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// ErrInterrupted is what Ctrl-C makes of the line that is being read.
var ErrInterrupted = errors.New("interrupted")

// Terminal is the Input that somebody types at a terminal, with line editing, history
// and completion. What is written to it appears above the line that is being typed.
// All methods may be called concurrently, but for ReadLine with itself.
type Terminal struct {
	// Complete, if set, says how the text before the cursor may go on.
	Complete func(text string) Completion

	// Interrupt, if set, is called for Ctrl-C while no line is being read. It must not
	// block.
	Interrupt func()

	// Size, if set, returns the terminal's width and height. Default: 80 by 24.
	Size func() (width, height int)

	// History has the lines that were typed. Default: one in memory.
	History *History

	in     io.Reader
	out    io.Writer
	keys   *keys
	start  sync.Once
	editor *term.Terminal

	ended  byte // the key that has ended the line, if it wasn't Enter
	search search
}

// Completion is how a text may go on.
type Completion struct {
	Start      int // of what the candidates stand for, an offset in the text
	Candidates []Candidate
}

// Candidate is one of the texts that may stand there.
type Candidate struct {
	Text  string
	Label string // in a list of candidates; default: Text
}

// NewTerminal returns a Terminal that reads from in, which is in raw mode from the
// first ReadLine on, and writes to out. It reads ahead, until in ends.
func NewTerminal(in io.Reader, out io.Writer) *Terminal {
	t := &Terminal{History: &History{}, in: in, out: out, keys: newKeys()}
	t.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{resized{t}, out}, "")
	t.editor.AutoCompleteCallback = t.key
	t.editor.History = remembered{t}
	return t
}

// resized reads keys, and looks at the terminal's size before each.
type resized struct{ t *Terminal }

func (r resized) Read(p []byte) (int, error) {
	r.t.resize()
	n, err := r.t.keys.Read(p)
	r.t.resize()
	return n, err
}

func (t *Terminal) resize() {
	if t.Size == nil {
		return
	}
	if width, height := t.Size(); width > 0 {
		_ = t.editor.SetSize(width, height) // an error of out shows in the next Write
	}
}

// Write writes whole lines.
func (t *Terminal) Write(p []byte) (int, error) { return t.editor.Write(p) }

// SetPrompt sets what stands before the line that is being read and those to come.
func (t *Terminal) SetPrompt(prompt string) {
	t.editor.SetPrompt(prompt)
	_, _ = t.editor.Write(nil) // show it
}

// ReadLine waits for a line. Its error is io.EOF for Ctrl-D, ErrInterrupted for Ctrl-C,
// with what has been typed, the cause of ctx's end, or one of reading.
func (t *Terminal) ReadLine(ctx context.Context) (string, error) {
	t.start.Do(func() {
		t.keys.interrupt = t.Interrupt
		t.editor.SetBracketedPasteMode(true) // a paste may have tabs, and be long
		go t.keys.readAll(t.in)
	})
	t.resize() // before there is something to draw anew
	t.ended, t.search = 0, search{}
	stop := context.AfterFunc(ctx, func() { t.keys.push(keyStop) })
	defer stop()
	t.keys.ask(true)
	defer t.keys.ask(false)
	line, err := t.editor.ReadLine()
	switch {
	case err != nil && !errors.Is(err, term.ErrPasteIndicator):
		return "", err
	case t.ended == keyInterrupt:
		return strings.TrimSuffix(line, "^C"), ErrInterrupted
	case t.ended == keyEnd:
		return "", io.EOF
	case t.ended == keyStop:
		return "", context.Cause(ctx)
	}
	return line, nil
}

// Close undoes what ReadLine has told the terminal. It doesn't close anything.
func (t *Terminal) Close() { t.editor.SetBracketedPasteMode(false) }

// key is told of each key that does nothing by itself.
func (t *Terminal) key(line string, pos int, key rune) (string, int, bool) {
	again := t.search
	t.search = search{}
	switch key {
	case keyInterrupt:
		t.end(keyInterrupt)
		return line + "^C", len(line) + 2, true
	case keyStop:
		t.end(keyStop)
		return line, len(line), true
	case keyEnd:
		if line == "" {
			t.end(keyEnd)
			return "", 0, true
		}
		_, n := utf8.DecodeRuneInString(line[pos:])
		return line[:pos] + line[pos+n:], pos, true
	case ctrlR:
		t.search = again.next(t.History, line)
		return t.search.found, len(t.search.found), true
	case tab:
		return t.complete(line, pos)
	}
	return "", 0, false
}

// end ends the line.
func (t *Terminal) end(key byte) {
	t.ended = key
	t.keys.push('\r')
}

// complete puts in what all candidates begin with, and lists them if there are several.
func (t *Terminal) complete(line string, pos int) (string, int, bool) {
	if t.Complete == nil {
		return line, pos, true
	}
	c := t.Complete(line[:pos])
	if len(c.Candidates) == 0 {
		_, _ = io.WriteString(t.out, "\a")
		return line, pos, true
	}
	common := c.Candidates[0].Text
	for _, candidate := range c.Candidates[1:] {
		for !strings.HasPrefix(candidate.Text, common) {
			_, n := utf8.DecodeLastRuneInString(common)
			common = common[:len(common)-n]
		}
	}
	if len(c.Candidates) > 1 {
		_, _ = t.Write(t.list(c.Candidates))
	}
	return line[:c.Start] + common + line[pos:], c.Start + len(common), true
}

// list lists candidates in columns, down first.
func (t *Terminal) list(candidates []Candidate) []byte {
	const most = 200
	rest := len(candidates) - most
	candidates = candidates[:min(len(candidates), most)]
	width, labels := 0, make([]string, len(candidates))
	for i, c := range candidates {
		if labels[i] = c.Label; labels[i] == "" {
			labels[i] = strings.TrimSpace(c.Text)
		}
		width = max(width, utf8.RuneCountInString(labels[i])+2)
	}
	screen := 80
	if t.Size != nil {
		if w, _ := t.Size(); w > 0 {
			screen = w
		}
	}
	columns := max(1, screen/width)
	rows := (len(labels) + columns - 1) / columns
	var b bytes.Buffer
	for row := range rows {
		var line strings.Builder
		for i := row; i < len(labels); i += rows {
			fmt.Fprintf(&line, "%-*s", width, labels[i])
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	if rest > 0 {
		fmt.Fprintf(&b, "… and %d more\n", rest)
	}
	return b.Bytes()
}

// remembered is the history as the editor uses it.
type remembered struct{ t *Terminal }

func (r remembered) Add(line string) {
	if r.t.ended == 0 {
		r.t.History.Add(line)
	}
}
func (r remembered) Len() int        { return r.t.History.Len() }
func (r remembered) At(i int) string { return r.t.History.At(i) }

// search is for a line of the history, newest first, that has a text in it.
type search struct {
	text, found string
	at          int // behind the line that was found; 0: none was
}

// next goes on with the search, if line is what it has found.
func (s search) next(h *History, line string) search {
	if s.at == 0 || line != s.found {
		s = search{text: line}
	}
	for i := s.at; i < h.Len(); i++ {
		if entry := h.At(i); entry != line && strings.Contains(entry, s.text) {
			return search{s.text, entry, i + 1}
		}
	}
	s.found = line
	return s
}
