package shell

import (
	"bytes"
	"io"
	"sync"
	"unicode/utf8"
)

// Control characters with a meaning in a Terminal.
const (
	ctrlC = 0x03
	ctrlD = 0x04
	tab   = '\t'
	ctrlG = 0x07
	ctrlH = 0x08
	ctrlR = 0x12
	del   = 0x7f
	esc   = 0x1b

	// The line editor would handle Ctrl-C and Ctrl-D itself. It reads these
	// characters instead; they are ignored when they are typed.
	keyInterrupt = 0x1c // Ctrl-C
	keyEnd       = 0x1d // Ctrl-D
	keyCancel    = 0x1e // the context of ReadLine has ended
	keySearch    = 0x1f // a search begins
)

const (
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// editorSequences maps the escape sequences that terminals send to those that the line
// editor understands.
var editorSequences = map[string]string{
	"\x1b[A": "\x1b[A", "\x1bOA": "\x1b[A", // up
	"\x1b[B": "\x1b[B", "\x1bOB": "\x1b[B", // down
	"\x1b[C": "\x1b[C", "\x1bOC": "\x1b[C", // right
	"\x1b[D": "\x1b[D", "\x1bOD": "\x1b[D", // left
	"\x1b[H": "\x1b[H", "\x1bOH": "\x1b[H", "\x1b[1~": "\x1b[H", "\x1b[7~": "\x1b[H", // home
	"\x1b[F": "\x1b[F", "\x1bOF": "\x1b[F", "\x1b[4~": "\x1b[F", "\x1b[8~": "\x1b[F", // end
	"\x1b[1;3C": "\x1b[1;3C", "\x1b[1;5C": "\x1b[1;3C", "\x1bf": "\x1b[1;3C", // a word to the right
	"\x1b[1;3D": "\x1b[1;3D", "\x1b[1;5D": "\x1b[1;3D", "\x1bb": "\x1b[1;3D", // a word to the left
	"\x1b[3~": "\x1b[3~", // delete
}

// keyReader reads a terminal continuously, so Ctrl-C works while no line is being read.
// All other keys wait for Read.
type keyReader struct {
	interrupt func() // called for Ctrl-C while no line is being read; must not block

	mu      sync.Mutex
	more    sync.Cond
	pending []byte // for Read
	reading bool   // a line is being read
	partial []byte // an incomplete escape sequence or character
	pasting bool   // between pasteStart and pasteEnd
	err     error
}

func newKeyReader() *keyReader {
	k := &keyReader{}
	k.more.L = &k.mu
	return k
}

// readAll reads until in ends.
func (k *keyReader) readAll(in io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		interrupted := false
		k.mu.Lock()
		for _, b := range buf[:n] {
			if b == ctrlC && !k.reading {
				interrupted = true
				k.pending, k.partial, k.pasting = nil, nil, false // drop the keys typed ahead
			} else {
				k.feed(b)
			}
		}
		k.err = err
		k.more.Broadcast()
		k.mu.Unlock()
		if interrupted && k.interrupt != nil {
			k.interrupt()
		}
		if err != nil {
			return
		}
	}
}

// feed adds a byte. Complete characters and known sequences become pending. The caller
// holds k.mu.
func (k *keyReader) feed(b byte) {
	if len(k.partial) > 0 {
		if k.partial[0] == esc && b >= ' ' && b < utf8.RuneSelf || k.partial[0] != esc && b >= utf8.RuneSelf {
			k.partial = append(k.partial, b)
			k.feedPartial()
			return
		}
		k.partial = nil // b doesn't continue it
	}
	switch {
	case b == esc || b >= utf8.RuneSelf:
		k.partial = append(k.partial, b)
	case b == ctrlC:
		if k.pasting { // the end of the paste was lost
			k.pasting = false
			k.pending = append(k.pending, pasteEnd...)
		}
		k.pending = append(k.pending, keyInterrupt)
	case k.pasting && b == tab:
		k.pending = append(k.pending, ' ')
	case k.pasting && b < ' ' && b != '\r' && b != '\n':
	case b == ctrlD:
		k.pending = append(k.pending, keyEnd)
	case b >= keyInterrupt && b <= keySearch:
	default:
		k.pending = append(k.pending, b)
	}
}

// feedPartial makes partial pending if it is complete.
func (k *keyReader) feedPartial() {
	p := k.partial
	switch {
	case p[0] == esc && isComplete(p):
		k.pending = append(k.pending, k.translate(string(p))...)
	case p[0] != esc && utf8.Valid(p):
		k.pending = append(k.pending, p...)
	case p[0] == esc || !utf8.FullRune(p):
		return
	}
	k.partial = nil
}

// isComplete reports whether p is a complete escape sequence.
func isComplete(p []byte) bool {
	const maxLen = 32 // longer than any known sequence
	switch p[1] {
	case '[':
		return len(p) > 2 && p[len(p)-1] >= '@' || len(p) > maxLen
	case 'O':
		return len(p) > 2
	}
	return true
}

// translate returns the keys for an escape sequence, "" if it has none.
func (k *keyReader) translate(s string) string {
	switch {
	case s == pasteStart && !k.pasting:
		k.pasting = true
		return s
	case s == pasteEnd && k.pasting:
		k.pasting = false
		return s
	case k.pasting:
		return ""
	}
	return editorSequences[s]
}

// pushFront puts a key in front of the pending ones.
func (k *keyReader) pushFront(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = append([]byte(key), k.pending...)
	k.more.Broadcast()
}

// setReading sets whether a line is being read.
func (k *keyReader) setReading(reading bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading = reading
}

// Read blocks until keys are pending. It returns no key after one that may end a line or
// begin a search.
func (k *keyReader) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.wait(); err != nil {
		return 0, err
	}
	n := min(len(p), len(k.pending))
	if i := bytes.IndexFunc(k.pending[:n], isLast); i >= 0 {
		n = i + 1
	}
	copy(p, k.pending[:n])
	k.pending = k.pending[n:]
	return n, nil
}

// isLast reports whether Read returns key before it reads on.
func isLast(key rune) bool {
	return key == '\r' || key == '\n' || key == ctrlR || key >= keyInterrupt && key <= keySearch
}

// next blocks until a key is pending and returns it: a character, or the sequence of a key.
func (k *keyReader) next() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.wait(); err != nil {
		return "", err
	}
	_, n := utf8.DecodeRune(k.pending)
	if k.pending[0] == esc {
		for n = 2; !isComplete(k.pending[:n]); n++ {
		}
	}
	key := string(k.pending[:n])
	k.pending = k.pending[n:]
	return key, nil
}

// wait waits until keys are pending. The caller holds k.mu.
func (k *keyReader) wait() error {
	for len(k.pending) == 0 {
		if k.err != nil {
			return k.err
		}
		k.more.Wait()
	}
	return nil
}
