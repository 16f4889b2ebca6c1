package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/outbound"
)

const (
	firstRetryInterval = 200 * time.Millisecond

	// minDialInterval is the least time from one dial to the next that a waiting client
	// causes.
	minDialInterval = 250 * time.Millisecond

	// stablePeriod is how long an idle session must last to reset the delay.
	stablePeriod = 10 * time.Second
)

// Backoff returns the n-th delay before a dial, from 1, with jitter, so that many Workers
// don't reconnect at the same time. It is at most limit; 0 means DefaultMaxRetryInterval.
func Backoff(n int, limit time.Duration) time.Duration {
	const minJitter, maxJitter = 0.8, 1.2
	limit = max(orDefault(limit, DefaultMaxRetryInterval), time.Millisecond)
	d := min(float64(firstRetryInterval<<min(n-1, 20)), float64(limit)/maxJitter)
	return time.Duration(d * (minJitter + (maxJitter-minJitter)*rand.Float64())) //nolint:gosec // the time of a dial is no secret
}

// hasProved reports whether s has shown that its peer works. A peer that
// accepts sessions and ends them at once doesn't, even if it answered a Ping.
func hasProved(s *Session) bool {
	return s.Stats().BytesReceived > 0 || time.Since(s.Since) >= stablePeriod
}

// patience returns how long the peer or a proxy asks to wait before the next dial, which
// would otherwise be after delay.
func patience(err error, delay time.Duration) time.Duration {
	if after := retryAfter(err); after > 0 {
		return after + rand.N(time.Second) //nolint:gosec // as above; a Retry-After has whole seconds
	}
	if he, ok := errors.AsType[*HandshakeError](err); ok && he.StatusCode == http.StatusTooManyRequests {
		return delay
	}
	const least, most = 5 * time.Second, 30 * time.Second
	switch {
	case websocket.IsCloseError(err, websocket.CloseServiceRestart): // less than the registry of status codes recommends (RFC 6455 §11.7): other instances are up
		return rand.N(least) //nolint:gosec // as above
	case websocket.IsCloseError(err, websocket.CloseTryAgainLater):
		return least + rand.N(most-least) //nolint:gosec // as above
	case isReplaced(err):
		return delay
	}
	return 0
}

// retryAfter returns the Retry-After of the peer or of a proxy, 0 if there is none.
func retryAfter(err error) time.Duration {
	if he, ok := errors.AsType[*HandshakeError](err); ok {
		return he.RetryAfter
	}
	if pe, ok := errors.AsType[*outbound.ProxyError](err); ok {
		return pe.RetryAfter
	}
	return 0
}

// CloseReplaced is the status code with which a relay closes the session of a Worker
// because another instance of the Worker has the same name.
const CloseReplaced = 4409

const (
	leastReplacedDelay = time.Minute
	mostReplacedDelay  = time.Hour
)

func isReplaced(err error) bool { return websocket.IsCloseError(err, CloseReplaced) }

// replacedDelay returns the least delay after n consecutive sessions that ended with
// CloseReplaced: 0 for none. It must be long, because two instances replace each other in
// turn until one gives up.
func replacedDelay(n int) time.Duration {
	if n == 0 {
		return 0
	}
	delay := min(leastReplacedDelay<<min(n-1, 10), mostReplacedDelay)
	return delay + rand.N(delay/5) //nolint:gosec // as above
}

// wait waits until next, and longer if the peer asks for that; reason is why no session is
// up. RetryNow and the end of ctx end the wait. So does a waiting client, as far as the
// peer allows, but not within minDialInterval after dialed, the time of the last dial:
// then wait returns true.
func (c *Connector) wait(ctx context.Context, next, dialed time.Time, reason error) (early bool) {
	in := max(time.Until(next), 0)
	asked := patience(reason, in)
	in = max(in, asked)
	c.Sessions.SetDownReason(&retryError{reason, time.Now().Add(in)})
	if c.OnRetry != nil {
		c.OnRetry(in, reason)
	}
	timer := time.NewTimer(in)
	defer timer.Stop()
	allowed := time.NewTimer(max(asked, time.Until(dialed.Add(minDialInterval))))
	defer allowed.Stop()
	var wanted <-chan struct{} // nil until allowed
	for {
		select {
		case <-timer.C:
			return false
		case <-allowed.C:
			wanted = c.Sessions.wanted()
		case <-wanted:
			return true
		case <-c.RetryNow:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// retryError adds the time of the next dial to the reason that no session is up.
type retryError struct {
	reason error
	next   time.Time
}

func (e *retryError) Error() string {
	in := time.Until(e.next).Round(100 * time.Millisecond)
	if in <= 0 {
		return fmt.Sprintf("%v (trying again now)", e.reason)
	}
	return fmt.Sprintf("%v (next try in %v)", e.reason, in)
}

func (e *retryError) Unwrap() error { return e.reason }
