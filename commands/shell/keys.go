package shell

import (
	"io"
	"sync"
	"unicode/utf8"
)

// The control characters that mean something here.
const (
	ctrlC  = 0x03
	ctrlD  = 0x04
	tab    = '\t'
	ctrlR  = 0x12
	escape = 0x1b

	// These stand in for keys which the line editor would take for its own, and
	// are dropped when they are typed.
	keyInterrupt = 0x1c // Ctrl-C
	keyEnd       = 0x1d // Ctrl-D
	keyStop      = 0x1e // nothing more is wanted
)

const (
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// sequences are what the line editor knows, by what terminals send.
var sequences = map[string]string{
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

// keys is what somebody types. It is read all the time, so that Ctrl-C is noticed also
// while no line is asked for; the rest waits for Read.
type keys struct {
	interrupt func() // called for Ctrl-C while no line is asked for; must not block

	mu      sync.Mutex
	more    sync.Cond
	pending []byte
	asked   bool   // a line is asked for
	partial []byte // of an escape sequence or a character
	pasting bool
	err     error
}

func newKeys() *keys {
	k := &keys{}
	k.more.L = &k.mu
	return k
}

// readAll reads until in ends.
func (k *keys) readAll(in io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		interrupted := false
		k.mu.Lock()
		for _, b := range buf[:n] {
			if b == ctrlC && !k.asked {
				interrupted = true
				k.pending, k.partial, k.pasting = nil, nil, false // what was typed for later
			} else {
				k.take(b)
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

// take hands on whole characters and the sequences that mean something.
func (k *keys) take(b byte) {
	if len(k.partial) > 0 {
		if k.partial[0] == escape && b >= ' ' && b < utf8.RuneSelf || k.partial[0] != escape && b >= utf8.RuneSelf {
			k.partial = append(k.partial, b)
			k.finish()
			return
		}
		k.partial = nil // neither goes on with this
	}
	switch {
	case b == escape || b >= utf8.RuneSelf:
		k.partial = append(k.partial, b)
	case b == ctrlC:
		if k.pasting { // the end of it has got lost
			k.pasting = false
			k.pending = append(k.pending, pasteEnd...)
		}
		k.pending = append(k.pending, keyInterrupt)
	case k.pasting && b == tab:
		k.pending = append(k.pending, ' ')
	case k.pasting && b < ' ' && b != '\r' && b != '\n':
	case b == ctrlD:
		k.pending = append(k.pending, keyEnd)
	case b == keyInterrupt || b == keyEnd || b == keyStop:
	default:
		k.pending = append(k.pending, b)
	}
}

// finish hands on what is partial, if it's whole.
func (k *keys) finish() {
	p := k.partial
	switch {
	case p[0] == escape && isSequence(p):
		k.pending = append(k.pending, k.sequence(string(p))...)
	case p[0] != escape && utf8.Valid(p):
		k.pending = append(k.pending, p...)
	case p[0] == escape || !utf8.FullRune(p):
		return
	}
	k.partial = nil
}

// isSequence reports whether an escape sequence is whole.
func isSequence(p []byte) bool {
	const most = 32 // one that goes on for ever is none
	switch p[1] {
	case '[':
		return len(p) > 2 && p[len(p)-1] >= '@' || len(p) > most
	case 'O':
		return len(p) > 2
	}
	return true
}

func (k *keys) sequence(s string) string {
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
	return sequences[s]
}

// push puts a key before those that wait.
func (k *keys) push(key byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = append([]byte{key}, k.pending...)
	k.more.Broadcast()
}

// ask says whether a line is asked for.
func (k *keys) ask(asked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = asked
}

// Read returns keys up to the next that may end a line.
func (k *keys) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.pending) == 0 {
		if k.err != nil {
			return 0, k.err
		}
		k.more.Wait()
	}
	n := 0
	for n < len(p) && n < len(k.pending) {
		p[n] = k.pending[n]
		n++
		if b := p[n-1]; b == '\r' || b == '\n' || b == keyInterrupt || b == keyEnd || b == keyStop {
			break
		}
	}
	k.pending = k.pending[n:]
	return n, nil
}
