package wsmux

import (
	"sync"
	"time"
)

// deadline turns the points in time given to SetDeadline into a channel to
// wait on. A deadline that has passed can be moved, and waiting works again.
type deadline struct {
	notify func() // called when it passes; may be nil

	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed once the deadline has passed
}

func newDeadline(notify func()) *deadline {
	return &deadline{notify: notify, expired: make(chan struct{})}
}

// set moves the deadline; the zero time means there is none.
func (d *deadline) set(at time.Time) {
	if d.move(at) {
		d.notifyPassed()
	}
}

// move is set, and reports whether the deadline has passed already.
func (d *deadline) move(at time.Time) bool {
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
		return false
	}
	left := time.Until(at)
	if left <= 0 {
		close(d.expired)
		return true
	}
	// The timer's function may already be running when move stops it, so it
	// checks that it is still the one in charge.
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		passed := d.timer == timer
		if passed {
			d.timer = nil
			close(d.expired)
		}
		d.mu.Unlock()
		if passed {
			d.notifyPassed()
		}
	})
	d.timer = timer
	return false
}

func (d *deadline) notifyPassed() {
	if d.notify != nil {
		d.notify()
	}
}

// done returns a channel that is closed once the deadline has passed. A
// deadline that is moved before it has passed keeps its channel.
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
