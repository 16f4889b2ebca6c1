package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// The defaults of Connector.
const (
	DefaultMaxRetryInterval = 30 * time.Second

	firstRetryInterval = 200 * time.Millisecond

	// stablePeriod is how long a session must have been up for the next loss
	// to count as a new one: a peer that accepts and drops at once must not
	// be dialed in a tight loop.
	stablePeriod = 10 * time.Second
)

// GaveUpError is why a Connector ended that was not to try for ever.
type GaveUpError struct {
	Attempts int   // how many dials failed in a row
	Err      error // the last failure
}

func (e *GaveUpError) Error() string {
	if e.Attempts <= 1 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v (gave up after %d attempts)", e.Err, e.Attempts)
}

func (e *GaveUpError) Unwrap() error { return e.Err }

// Connector keeps one dialed session up.
type Connector struct {
	// URL is what to dial, and Options how.
	URL     string
	Options *DialOptions

	// Sessions gets each session.
	Sessions *Sessions

	// MaxRetries is how many more dials may fail in a row after one has
	// failed; a negative number means no limit. Default: 0.
	MaxRetries int

	// MaxRetryInterval bounds the time between two dials, which doubles from
	// 200 ms, each a random part of that. Default: DefaultMaxRetryInterval.
	MaxRetryInterval time.Duration

	// OnRetry is called, if set, before a wait, with its length and its reason.
	OnRetry func(in time.Duration, reason error)

	// RetryNow ends a wait when it can be received from. Default: nothing does.
	RetryNow <-chan struct{}
}

// Run dials, waits until the session ends, and dials again, until ctx ends: it
// returns nil then. It returns a *DialError at once when the peer refuses the
// credentials, and a *GaveUpError after MaxRetries.
func (c *Connector) Run(ctx context.Context) error {
	failed := 0 // dials, in a row
	short := 0  // dials that failed and sessions that didn't last, in a row
	remote := c.URL
	if u, err := url.Parse(c.URL); err == nil {
		remote = RedactURL(u)
	}
	for {
		started := time.Now()
		session, err := Dial(ctx, c.URL, c.Options)
		if err == nil {
			failed = 0
			s := c.Sessions.Add(session, remote)
			if s == nil {
				return nil // shutting down
			}
			select {
			case <-s.Done():
				err = s.Err()
			case <-ctx.Done():
				return nil
			}
		} else {
			failed++
			if he, ok := errors.AsType[*HandshakeError](err); ok && he.Refused() {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if c.MaxRetries >= 0 && failed > c.MaxRetries {
			return &GaveUpError{failed, err}
		}
		if time.Since(started) >= stablePeriod && failed == 0 {
			short = 0
		}
		short++
		if !c.wait(ctx, c.backoff(short), err) {
			return nil
		}
	}
}

// backoff is the wait before the dial after the nth short-lived one: full
// jitter, so that many Workers don't come back all at once.
func (c *Connector) backoff(n int) time.Duration {
	limit := orDefault(c.MaxRetryInterval, DefaultMaxRetryInterval)
	ceiling := min(firstRetryInterval<<min(n-1, 20), max(limit, time.Millisecond))
	return rand.N(ceiling) + time.Millisecond //nolint:gosec // no secret hangs on when it dials
}

// wait waits before the next dial and reports whether there is to be one.
func (c *Connector) wait(ctx context.Context, in time.Duration, reason error) bool {
	c.Sessions.SetAbsence(&retryError{reason, time.Now().Add(in)})
	if c.OnRetry != nil {
		c.OnRetry(in, reason)
	}
	timer := time.NewTimer(in)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.RetryNow:
	case <-ctx.Done():
		return false
	}
	return true
}

// retryError is a reason with the time of the next dial.
type retryError struct {
	reason error
	next   time.Time
}

func (e *retryError) Error() string {
	in := max(time.Until(e.next), 0).Round(100 * time.Millisecond)
	return fmt.Sprintf("%v (next try in %v)", e.reason, in)
}

func (e *retryError) Unwrap() error { return e.reason }
