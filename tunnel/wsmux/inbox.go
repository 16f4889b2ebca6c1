package wsmux

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// TryWriter is a writer that can be asked to write what it can without waiting,
// which may be nothing. See [Stream.PassOn].
type TryWriter interface {
	io.Writer
	TryWrite(p []byte) (n int, err error)
}

// inbox is what has come on a stream and hasn't been read. Its errors are those
// of yamux's streams.
type inbox struct {
	session  *Session
	stream   uint32
	deadline *deadline
	changed  chan struct{} // holds a token when there may be something to read, or the end

	mu     sync.Mutex
	window receiveWindow
	held   []byte // what is there
	read   int    // of held
	spare  []byte // for what comes while held is written
	end    error  // what follows: io.EOF, or a reset, behind which nothing is read
	closed bool   // what comes is dropped

	grant    uint32 // what the peer is still to be told that it may send
	granting bool   // a goroutine is about to

	passing // on what comes
}

// passing is the state of passing on what comes.
type passing struct {
	to       TryWriter                     // nil: nothing is passed on
	wrote    func()                        // called when what was held has been written
	ended    func(readErr, writeErr error) // called at the end
	writing  bool                          // a goroutine writes what is held, or has noticed the end
	writeErr error
}

func newInbox(s *Session, stream uint32) *inbox {
	b := &inbox{
		session: s,
		stream:  stream,
		changed: make(chan struct{}, 1),
		window:  newReceiveWindow(s.window),
	}
	b.deadline = newDeadline(b.deadlinePassed)
	return b
}

// deliver takes what has come. It runs in the goroutine that receives for all
// streams, and doesn't wait.
func (b *inbox) deliver(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.window.arrived(len(p)); err != nil || b.closed {
		return err
	}
	if b.to != nil && !b.writing && b.writeErr == nil {
		n, err := b.to.TryWrite(p)
		b.passedOn(n, err)
		if p = p[n:]; len(p) == 0 && err == nil {
			return nil
		}
	}
	b.hold(p)
	b.change()
	return nil
}

// change tells who reads, or passes on what comes, that there is something to do.
// b.mu is held.
func (b *inbox) change() {
	signal(b.changed)
	if b.to != nil && !b.writing {
		b.writing = true
		go b.writeOn()
	}
}

func (b *inbox) deadlinePassed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change()
}

// hold appends p to what is held.
func (b *inbox) hold(p []byte) {
	if b.read > 0 && len(b.held)+len(p) > cap(b.held) {
		b.held = b.held[:copy(b.held, b.held[b.read:])]
		b.read = 0
	}
	b.held = append(b.held, p...)
}

// consumed takes notice that n bytes have been read or passed on, and lets the
// peer send more. b.mu is held.
func (b *inbox) consumed(n int) {
	if b.closed {
		return // and the window has been given back
	}
	more := b.window.consumed(b.session, n)
	if more == 0 {
		return
	}
	if b.grant += more; !b.granting {
		b.granting = true
		go b.sendGrants() // who reads needn't wait for a busy link
	}
}

// sendGrants tells the peer how much more it may send.
func (b *inbox) sendGrants() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.grant > 0 {
		h := header(yamuxTypeWindowUpdate, 0, b.stream, b.grant)
		b.grant = 0
		b.mu.Unlock()
		_ = b.session.t.send(h, nil) // an error shows elsewhere
		b.mu.Lock()
	}
	b.granting = false
}

func (b *inbox) Read(p []byte) (int, error) {
	defer signal(b.changed) // to others who read
	for timely := true; ; timely = b.wait() {
		// Also if it is late: what has come by then, or just before the session
		// ended, which is told by the deadline, is not lost.
		n, ready, err := b.readNow(p)
		switch {
		case ready:
			return n, err
		case !timely:
			return 0, yamux.ErrTimeout
		}
	}
}

func (b *inbox) readNow(p []byte) (n int, ready bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.isReset(), b.end != nil && len(b.held) == 0:
		return 0, true, b.end
	case len(b.held) == 0:
		return 0, false, nil
	}
	n = copy(p, b.held[b.read:])
	if b.read += n; b.read == len(b.held) {
		b.held, b.read = b.held[:0], 0
	}
	b.consumed(n)
	return n, true, nil
}

// wait waits for a change and reports whether the deadline hasn't passed before.
func (b *inbox) wait() bool {
	select {
	case <-b.changed:
		return true
	case <-b.deadline.done():
		return false
	}
}

// passOn has what comes written to w, from now on until there is nothing more to
// read, or w fails. It calls wrote whenever it has written what was held, and then
// ended with what ended it.
func (b *inbox) passOn(to TryWriter, wrote func(), ended func(readErr, writeErr error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passing = passing{to: to, wrote: wrote, ended: ended}
	b.change() // there may be something already
}

// writeOn writes what is held to where it is passed on, as long as there is any.
func (b *inbox) writeOn() {
	b.mu.Lock()
	for len(b.held) > 0 && b.writeErr == nil && !b.isReset() {
		b.writeHeld()
		b.wrote()
	}
	readErr, writeErr := b.end, b.writeErr
	if readErr == nil && b.deadline.passed() {
		readErr = yamux.ErrTimeout
	}
	if readErr == nil && writeErr == nil {
		b.writing = false
		b.mu.Unlock()
		return
	}
	ended := b.ended
	b.passing = passing{}
	b.mu.Unlock()
	ended(readErr, writeErr)
}

// writeHeld writes what is held, without b.mu; what comes meanwhile is held in
// spare's memory.
func (b *inbox) writeHeld() {
	rest := b.held[b.read:]
	b.held, b.spare, b.read = b.spare[:0], b.held, 0
	for len(rest) > 0 && b.writeErr == nil {
		b.mu.Unlock()
		n, err := b.to.Write(rest[:min(len(rest), mostData)])
		b.mu.Lock()
		rest = rest[n:]
		b.passedOn(n, err)
	}
}

// passedOn takes notice of what a write of passing has done. b.mu is held.
func (b *inbox) passedOn(n int, err error) {
	b.writeErr = err
	b.consumed(n)
}

// finish has io.EOF follow what is held.
func (b *inbox) finish() { b.endWith(io.EOF) }

func (b *inbox) isReset() bool { return errors.Is(b.end, yamux.ErrConnectionReset) }

// reset ends b at once. A reset from this side is yamux giving up a stream that
// the peer has left half-open, which yamux takes for its end.
func (b *inbox) reset(byPeer bool) {
	if byPeer {
		b.endWith(yamux.ErrConnectionReset)
	} else {
		b.finish()
	}
}

func (b *inbox) endWith(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = err
	b.change()
}

// close drops what is held and what comes.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.held, b.read, b.spare = nil, 0, nil
	b.window.release(b.session)
}

// SetReadDeadline sets the deadline of waiting.
func (b *inbox) SetReadDeadline(at time.Time) error {
	b.deadline.set(at)
	return nil
}

// Shrink gives back the memory of b, if nothing is held.
func (b *inbox) Shrink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spare = nil; len(b.held) == 0 {
		b.held = nil
	}
}
