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

// ErrInterrupted is the error of an Input if the user pressed Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// Terminal is the Input that reads lines from a terminal, with line editing, history and
// completion. Output written to it appears above the line that is being typed. All methods
// may be called concurrently, except that one ReadLine runs at a time.
//
// The line editor is that of golang.org/x/term. Larger ones lack output above the line
// (peterh/liner), have data races with it (reeflective/readline), or leave gaps above output
// that is taller than the screen (bubbletea).
type Terminal struct {
	// Complete, if set, returns the completion of the line up to the cursor.
	Complete func(text string) Completion

	// Interrupt, if set, is called for Ctrl-C while no line is being read. It must not
	// block.
	Interrupt func()

	// Size, if set, returns the terminal's width and height. Default: 80 by 24.
	Size func() (width, height int)

	// History keeps the lines that were typed. Default: in memory only.
	History *History

	in     io.Reader
	out    io.Writer
	keys   *keyReader
	start  sync.Once
	editor *term.Terminal

	endKey byte   // the key that ended the line; 0: Enter
	query  string // to begin a search with

	mu        sync.Mutex
	prompt    string // of lines
	searching bool   // the editor's prompt is that of a search
}

// Completion is a list of texts that may replace the end of a line.
type Completion struct {
	Start      int // offset in the line from which a candidate replaces it
	Candidates []Candidate
}

// Candidate is one of the texts of a Completion.
type Candidate struct {
	Text  string
	Label string // shown in a list of candidates; default: Text
}

// NewTerminal returns a Terminal that reads from in and writes to out. The caller puts in
// into raw mode before the first ReadLine, which starts a goroutine that reads until in
// ends.
func NewTerminal(in io.Reader, out io.Writer) *Terminal {
	t := &Terminal{History: &History{}, in: in, out: out, keys: newKeyReader()}
	t.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{resizingReader{t}, out}, "")
	t.editor.AutoCompleteCallback = t.handleKey
	t.editor.History = editorHistory{t}
	return t
}

// resizingReader reads keys and passes the terminal's size to the editor around each Read.
type resizingReader struct{ t *Terminal }

func (r resizingReader) Read(p []byte) (int, error) {
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
		_ = t.editor.SetSize(width, height) // the next Write returns an error of out
	}
}

// Write writes p, which is complete lines.
func (t *Terminal) Write(p []byte) (int, error) { return t.editor.Write(p) }

// SetPrompt sets the prompt, also of the line that is being read.
func (t *Terminal) SetPrompt(prompt string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prompt = prompt
	if !t.searching {
		t.showPrompt(prompt)
	}
}

func (t *Terminal) showPrompt(prompt string) {
	t.editor.SetPrompt(prompt)
	_, _ = t.editor.Write(nil) // show it
}

// Remember adds a command to the history.
func (t *Terminal) Remember(command string) { t.History.Add(command) }

// Clear clears the screen. It is called while no line is being read.
func (t *Terminal) Clear() { _, _ = t.editor.Write([]byte("\x1b[2J\x1b[H")) }

// ReadLine blocks until a line has been typed. The error is io.EOF for Ctrl-D in an empty
// line, ErrInterrupted for Ctrl-C, the cause of ctx's end, or an error of in. With
// ErrInterrupted it returns the discarded text, too.
func (t *Terminal) ReadLine(ctx context.Context) (string, error) {
	t.start.Do(func() {
		t.keys.interrupt = t.Interrupt
		t.editor.SetBracketedPasteMode(true) // a paste may have tabs, and be longer than a typed line
		go t.keys.readAll(t.in)
	})
	t.resize() // while there is no line to redraw
	t.endKey = 0
	stop := context.AfterFunc(ctx, func() { t.keys.pushFront(string(rune(keyCancel))) })
	defer stop()
	t.keys.setReading(true)
	defer t.keys.setReading(false)
	line, err := t.editor.ReadLine()
	switch {
	case err != nil && !errors.Is(err, term.ErrPasteIndicator):
		return "", err
	case t.endKey == keyInterrupt:
		return strings.TrimSuffix(line, "^C"), ErrInterrupted
	case t.endKey == keyEnd:
		return "", io.EOF
	case t.endKey == keyCancel:
		return "", context.Cause(ctx)
	}
	return line, nil
}

// Close turns off the terminal's bracketed paste mode, which ReadLine turned on. It closes
// neither in nor out.
func (t *Terminal) Close() { t.editor.SetBracketedPasteMode(false) }

// handleKey is called by the editor with keys that it doesn't handle itself.
func (t *Terminal) handleKey(line string, pos int, key rune) (string, int, bool) {
	switch key {
	case keyInterrupt:
		t.endLine(keyInterrupt)
		return line + "^C", len(line) + 2, true
	case keyCancel:
		t.endLine(keyCancel)
		return line, len(line), true
	case keyEnd:
		if line == "" {
			t.endLine(keyEnd)
			return "", 0, true
		}
		_, n := utf8.DecodeRuneInString(line[pos:])
		return line[:pos] + line[pos+n:], pos, true
	case ctrlR:
		t.query = line
		t.keys.pushFront(string(rune(keySearch)))
		return "", 0, true // the prompt of the search has its own text
	case keySearch:
		found := t.searchHistory(t.query)
		return found, len(found), true
	case tab:
		return t.complete(line, pos)
	}
	return "", 0, false
}

// endLine ends the line as Enter does, and records the key that ended it.
func (t *Terminal) endLine(key byte) {
	t.endKey = key
	t.keys.pushFront("\r")
}

// complete inserts the longest common prefix of the candidates. It lists them if there are
// several.
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
		_, _ = t.Write(t.formatCandidates(c.Candidates))
	}
	return line[:c.Start] + common + line[pos:], c.Start + len(common), true
}

// formatCandidates returns the candidates in columns, the first column first, at most 200.
func (t *Terminal) formatCandidates(candidates []Candidate) []byte {
	const maxListed = 200
	rest := len(candidates) - maxListed
	candidates = candidates[:min(len(candidates), maxListed)]
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

// editorHistory implements term.History. Remember adds the commands, which may have several
// lines.
type editorHistory struct{ t *Terminal }

func (editorHistory) Add(string)        {}
func (h editorHistory) Len() int        { return h.t.History.Len() }
func (h editorHistory) At(i int) string { return h.t.History.At(i) }
