package tunnel

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// SilenceError is why a session ended whose peer sent nothing for too long.
type SilenceError struct {
	Timeout time.Duration // how long it was waited
}

func (e *SilenceError) Error() string {
	return fmt.Sprintf("nothing received for %v: the peer or the way to it is dead", e.Timeout)
}

// liveness pings the peer and ends the session when the peer stays silent.
type liveness struct {
	session  *wsmux.Session
	interval time.Duration // 0: no Pings
	timeout  time.Duration // 0: silence is fine
	pinging  atomic.Bool
}

// run returns when the session ends. It looks at the clock and the session's
// counter only, so that bytes on their way pay nothing for being watched.
func (l *liveness) run() {
	if l.interval == 0 && l.timeout == 0 {
		return
	}
	resolution := l.resolution()
	tick := time.NewTicker(resolution)
	defer tick.Stop()
	var received uint64
	var silence time.Duration
	looked, pinged := time.Now(), time.Now()
	if l.interval > 0 {
		l.pinging.Store(true)
		go l.ping(pinged) // at once, for it measures the way
	}
	for {
		select {
		case <-l.session.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		// A process that was stopped for a while hasn't listened meanwhile,
		// so that a longer gap says nothing about the peer.
		silence += min(now.Sub(looked), 2*resolution)
		looked = now
		if n := l.session.Received(); n != received {
			received, silence = n, 0
		}
		if l.timeout > 0 && silence >= l.timeout {
			l.session.CloseWithError(&SilenceError{l.timeout})
			return
		}
		if l.interval > 0 && now.Sub(pinged) >= l.interval && l.pinging.CompareAndSwap(false, true) {
			pinged = now
			go l.ping(now)
		}
	}
}

// maxResolution has silence noticed within two seconds of the timeout: it is
// counted from the look after the last byte, and at a later one the timeout may
// be over by a hair, or not.
const maxResolution = 750 * time.Millisecond

// resolution is how often to look: often enough for the silence to be noticed
// in time, seldom enough not to wake the processor for nothing.
func (l *liveness) resolution() time.Duration {
	d := maxResolution
	if l.interval > 0 {
		d = min(d, l.interval)
	}
	if l.timeout > 0 {
		d = min(d, l.timeout/4)
	}
	return max(d, time.Millisecond)
}

// ping runs in its own goroutine because it waits behind the message that is
// being sent, which on a slow link can take longer than the peer may be silent.
func (l *liveness) ping(now time.Time) {
	defer l.pinging.Store(false)
	wait := l.timeout
	if wait == 0 {
		wait = DefaultPingTimeout
	}
	_ = l.session.Ping(now.Add(wait)) // an error shows as silence
}
