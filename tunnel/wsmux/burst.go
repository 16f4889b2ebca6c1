package wsmux

import (
	"runtime"
	"sync"
	"time"
)

const (
	// smallWrite is what is small enough, in bytes, to go out together with
	// others.
	smallWrite = 8 * 1024

	// mostHeld bounds what waits to go out together. More waits for the socket.
	mostHeld = 64 * 1024

	// burstGap is the time between two writes of a burst at the most.
	burstGap = 50 * time.Microsecond
)

// burst joins small writes that follow closely on one another: each alone costs
// a system call here and a wake-up there. The first goes out by itself at once,
// those that come meanwhile or soon after go out together, by another goroutine,
// as soon as that one runs. Nothing waits for a timer.
type burst struct {
	mu       sync.Mutex
	held     []byte
	spare    []byte // to hold the next ones
	flushing bool   // a goroutine is about to send what is held
	sent     time.Time
}

// hold takes a and b, if they can go out with others, and reports whether they
// will. flush is to be called if start is true.
func (u *burst) hold(a, b []byte) (held, start bool) {
	n := len(a) + len(b)
	if n > smallWrite {
		return false, false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.flushing && time.Since(u.sent) > burstGap || len(u.held)+n > mostHeld {
		return false, false
	}
	u.held = append(append(u.held, a...), b...)
	start = !u.flushing
	u.flushing = true
	return true, start
}

// take returns what is held, which is valid until the next take. Who calls it is
// sending; for the one who flushes, nothing is the end.
func (u *burst) take(flusher bool) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	held := u.held
	u.held, u.spare = u.spare[:0], held
	if flusher && len(held) == 0 {
		u.flushing = false
	}
	return held
}

// stop is for the one who flushes: what is held stays.
func (u *burst) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flushing = false
}

// noteSent takes notice of a write.
func (u *burst) noteSent() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent = time.Now()
}

// send is writePair, but small writes may go out together with later ones, and an
// error then shows in a later call.
func (t *transport) send(a, b []byte) error {
	if t.frames == nil {
		return t.writePair(a, b)
	}
	held, start := t.burst.hold(a, b)
	if !held {
		return t.writePair(a, b)
	}
	if start {
		go t.flush()
	}
	return nil
}

// flush sends what is held until there is nothing. Control frames have their
// turn in between.
func (t *transport) flush() {
	for {
		runtime.Gosched() // others who are about to write go first
		t.writing <- struct{}{}
		var held []byte
		err := t.beginWrite()
		if err != nil {
			t.burst.stop()
		} else if held = t.burst.take(true); len(held) > 0 {
			err = t.writeLocked(held, nil)
		}
		<-t.writing
		if err != nil {
			_ = t.failed(err) // there may be no other send to return it
		}
		if len(held) == 0 {
			return
		}
	}
}
