package wsmux

import (
	"sync"
	"time"
)

// deadline is a deadline with a channel to wait on, like that of net.Pipe.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed when the deadline passes; replaced when it is moved afterwards
}

func newDeadline() *deadline { return &deadline{expired: make(chan struct{})} }

// set moves the deadline; the zero time means none.
func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if at.IsZero() {
		return
	}
	left := time.Until(at)
	if left <= 0 {
		close(d.expired)
		return
	}
	// The function of a timer that set has stopped may already be running, so it
	// checks that its timer is still the current one.
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer {
			d.timer = nil
			close(d.expired)
		}
	})
	d.timer = timer
}

// done returns a channel that is closed when the deadline passes. It stays valid if
// the deadline is moved before that.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// passed reports whether the deadline has passed.
func (d *deadline) passed() bool {
	select {
	case <-d.done():
		return true
	default:
		return false
	}
}
