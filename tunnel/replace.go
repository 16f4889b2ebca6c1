package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
)

const (
	// leastMoveDelay and mostMoveDelay bound the delay between a GoAway and the dial of
	// the next session. A peer without open streams closes the session earlier.
	leastMoveDelay = 250 * time.Millisecond
	mostMoveDelay  = time.Second

	// replaceGrace is how long a session is still used after the next one is up: the peer
	// may just be opening streams on it.
	replaceGrace = time.Second
)

// oldSession is a session that is being replaced.
type oldSession struct {
	*Session // nil: none

	since time.Time
}

// watch waits until s has ended or is to be replaced, and returns the reason. It returns nil
// if ctx ends first. RetryNow replaces s, and so does the peer's GoAway.
func (c *Connector) watch(ctx context.Context, s *Session) error {
	retired, wanted, move := s.retired.Done(), (<-chan struct{})(nil), (<-chan time.Time)(nil)
	for {
		select {
		case <-s.downDone: // later than Done, so that OnRetry is called after Down
			return s.Err()
		case <-retired:
			retired, wanted = nil, c.Sessions.wanted()
			move = time.After(leastMoveDelay + rand.N(mostMoveDelay-leastMoveDelay)) //nolint:gosec // the time of a dial is no secret
			continue
		case <-wanted:
		case <-move:
		case <-c.RetryNow:
			return ErrReconnect
		case <-ctx.Done():
			return nil
		}
		if s.Err() == nil {
			return s.retireReason()
		}
		wanted, move = nil, nil // downDone follows
	}
}

// release shuts down s after grace, in which its peer may still use it. It does nothing if
// s is nil or has ended.
func (c *Connector) release(ctx context.Context, s *Session, grace time.Duration) {
	if s == nil || s.Err() != nil {
		return
	}
	c.Sessions.retire(s, ErrReconnect) // unless its peer is going away
	drainTimeout := orDefault(c.DrainTimeout, defaultDrainTimeout)
	c.Sessions.replace(ctx, s, min(grace, drainTimeout), drainTimeout)
}

// mustEndFirst reports whether old must end before the next session can begin, which the
// peer has refused with err.
func (c *Connector) mustEndFirst(old oldSession, err error) bool {
	he, ok := errors.AsType[*HandshakeError](err)
	if !ok || old.Session == nil || old.Err() != nil {
		return false
	}
	switch he.StatusCode {
	case http.StatusConflict:
		return true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		drained := time.Since(old.since) >= orDefault(c.DrainTimeout, defaultDrainTimeout)
		return drained || !errors.Is(old.retireReason(), mux.ErrRemoteGoAway)
	}
	return false
}

// awaitEnd waits for the end of a session without streams, which takes a moment, and until
// its peer knows.
func (o oldSession) awaitEnd(ctx context.Context) {
	timer := time.NewTimer(replaceGrace)
	defer timer.Stop()
	select {
	case <-o.downDone:
		_ = o.Close() // waits for the peer's Close frame
	case <-timer.C:
	case <-ctx.Done():
	}
}
