package wsmux

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"
)

// The defaults of Options.PingInterval and PingTimeout.
const (
	DefaultPingInterval = 30 * time.Second
	DefaultPingTimeout  = 90 * time.Second
)

// SilenceError is the reason of a session's end when the peer sent nothing for
// too long.
type SilenceError struct {
	Timeout time.Duration // how long it may be silent
}

func (e *SilenceError) Error() string {
	return fmt.Sprintf("nothing received for %v: the peer or the way to it is dead", e.Timeout)
}

// keepAlive starts the goroutine that keeps the session alive, if opts ask for
// it.
func (s *Session) keepAlive(opts *Options) {
	k := &keepalive{
		session:  s,
		interval: max(cmp.Or(opts.PingInterval, DefaultPingInterval), 0),
		timeout:  max(cmp.Or(opts.PingTimeout, DefaultPingTimeout), 0),
	}
	if k.interval > 0 || k.timeout > 0 {
		go k.run()
	}
}

// keepalive pings the peer and ends the session when the peer stays silent.
type keepalive struct {
	session  *Session
	interval time.Duration // 0: no Pings
	timeout  time.Duration // 0: silence is allowed
	pinging  atomic.Bool
}

// run returns when the session ends. It looks at the clock and at a counter, so
// that data pays nothing for being watched.
func (k *keepalive) run() {
	resolution := k.resolution()
	tick := time.NewTicker(resolution)
	defer tick.Stop()
	var received uint64
	var silence time.Duration
	looked, pinged := time.Now(), time.Now()
	if k.interval > 0 {
		k.pinging.Store(true)
		go k.ping() // at once, because it measures the round trip
	}
	for {
		select {
		case <-k.session.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		// A process that was stopped for a while hasn't listened meanwhile, so a
		// longer gap says nothing about the peer.
		silence += min(now.Sub(looked), 2*resolution)
		looked = now
		if n := k.session.conn.Received(); n != received {
			received, silence = n, 0
		}
		if k.timeout > 0 && silence >= k.timeout {
			k.session.CloseWithError(&SilenceError{k.timeout})
			return
		}
		if k.interval > 0 && now.Sub(pinged) >= k.interval && k.pinging.CompareAndSwap(false, true) {
			pinged = now
			go k.ping()
		}
	}
}

// maxResolution has silence noticed within two seconds of the timeout: it is
// counted from the look after the last byte, and at a later look the timeout may
// just not have passed.
const maxResolution = 750 * time.Millisecond

// resolution is how often to look: often enough to notice silence in time, seldom
// enough not to wake the processor for nothing.
func (k *keepalive) resolution() time.Duration {
	d := maxResolution
	if k.interval > 0 {
		d = min(d, k.interval)
	}
	if k.timeout > 0 {
		d = min(d, k.timeout/4)
	}
	return max(d, time.Millisecond)
}

// ping runs in a goroutine of its own because it waits for the message that is
// being sent, which on a slow link can take longer than the peer may be silent.
func (k *keepalive) ping() {
	defer k.pinging.Store(false)
	_ = k.session.conn.SendPing(time.Now().Add(cmp.Or(k.timeout, DefaultPingTimeout))) // an error shows as silence
}
