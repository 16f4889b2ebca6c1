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

// SilenceError means that the session ended because nothing arrived from the peer for
// PingTimeout.
type SilenceError struct {
	Timeout time.Duration // PingTimeout
}

func (e *SilenceError) Error() string {
	return fmt.Sprintf("nothing received for %v: the peer or the link is dead", e.Timeout)
}

// keepAlive starts the goroutine that sends Pings and detects silence, unless opts
// turn both off.
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

// keepalive sends Pings and ends the session when nothing arrives from the peer.
type keepalive struct {
	session  *Session
	interval time.Duration // between Pings; 0: none
	timeout  time.Duration // of silence; 0: no limit
	pinging  atomic.Bool   // a Ping is being sent
}

// run returns when the session ends. It polls a counter of arrivals, which costs less
// than a timer that each arrival resets.
func (k *keepalive) run() {
	interval := k.tickInterval()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var received uint64
	var silence time.Duration
	lastTick, lastPing := time.Now(), time.Now()
	if k.interval > 0 {
		k.pinging.Store(true)
		go k.ping() // immediately, to measure the round-trip time for the windows
	}
	for {
		select {
		case <-k.session.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		// A longer gap between ticks means that this process was suspended and
		// couldn't receive. That isn't the peer's silence.
		silence += min(now.Sub(lastTick), 2*interval)
		lastTick = now
		if n := k.session.conn.Received(); n != received {
			received, silence = n, 0
		}
		if k.timeout > 0 && silence >= k.timeout {
			k.session.CloseWithError(&SilenceError{k.timeout})
			return
		}
		if k.interval > 0 && now.Sub(lastPing) >= k.interval && k.pinging.CompareAndSwap(false, true) {
			lastPing = now
			go k.ping()
		}
	}
}

// maxTickInterval is short enough to detect silence within two seconds of the timeout:
// silence is counted from the tick after the last arrival, and is compared with the
// timeout only at ticks, so the delay is up to two intervals.
const maxTickInterval = 750 * time.Millisecond

// tickInterval returns how often run wakes up: seldom, to save power, but often enough
// for the interval and the timeout.
func (k *keepalive) tickInterval() time.Duration {
	d := maxTickInterval
	if k.interval > 0 {
		d = min(d, k.interval)
	}
	if k.timeout > 0 {
		d = min(d, k.timeout/4)
	}
	return max(d, time.Millisecond)
}

// ping sends a Ping. It runs in its own goroutine because it waits for the message that
// is being sent, which can take longer than the timeout on a slow link.
func (k *keepalive) ping() {
	defer k.pinging.Store(false)
	_ = k.session.conn.SendPing(time.Now().Add(cmp.Or(k.timeout, DefaultPingTimeout))) // after an error, silence ends the session
}
