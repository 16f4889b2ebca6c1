package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wstun/wstun/tunnel/outbound"
)

// The defaults of Connector.
const (
	DefaultMaxRetryInterval = 30 * time.Second
	DefaultDrainTimeout     = 30 * time.Second

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

	// Refresh is called, if set, before each dial with a copy of Options, to
	// put in what has changed meanwhile: certificates, tokens.
	Refresh func(*DialOptions)

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

	// RetryNow, when it can be received from, ends a wait, or replaces the
	// session that is up, and has Run dial at once. A dial that is under way is
	// the answer, if it succeeds. It must not be closed. Default: nil.
	RetryNow <-chan struct{}

	// DrainTimeout is how long the streams of a session that is replaced may go
	// on; it gets no new ones. A negative one cuts them at once.
	// Default: DefaultDrainTimeout.
	DrainTimeout time.Duration
}

// errReconnect is why a session ends that RetryNow has replaced.
var errReconnect = errors.New("reconnecting, as asked")

// Run dials, waits until the session ends, and dials again, until ctx ends: it
// returns nil then. The last session is left to its set. Run returns a
// *DialError at once when the URL can't be dialed, or the peer or the
// proxy refuses the credentials, and a *GaveUpError after MaxRetries.
func (c *Connector) Run(ctx context.Context) error {
	u, err := outbound.ParseURL(c.URL)
	if err != nil {
		return &DialError{Err: err}
	}
	if _, err := outbound.ProxyFor(c.options().Proxy, u); err != nil {
		return &DialError{URL: outbound.RedactURL(u), Err: err}
	}
	failed := 0 // dials, in a row
	short := 0  // dials that failed and sessions that didn't last, in a row
	for ctx.Err() == nil {
		session, err := Dial(ctx, c.URL, c.options())
		if err == nil {
			failed = 0
			select {
			case <-c.RetryNow: // came meanwhile
			default:
			}
			s := c.Sessions.Add(session, outbound.RedactURL(u))
			if s == nil {
				return nil // shutting down
			}
			up := time.Now()
			err = c.watch(ctx, s)
			if time.Since(up) >= stablePeriod {
				short = 0
			}
		} else {
			failed++
		}
		if ctx.Err() != nil {
			break
		}
		if refused(err) {
			return err
		}
		if c.MaxRetries >= 0 && failed > c.MaxRetries {
			return &GaveUpError{failed, err}
		}
		if errors.Is(err, errReconnect) {
			continue
		}
		short++
		c.wait(ctx, c.backoff(short), err)
	}
	return nil //nolint:nilerr // stopped, as asked
}

// refused reports whether the peer or a proxy has refused the credentials:
// they don't get better by trying again, and accounts may be locked for it.
func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

// options returns what to dial with this time.
func (c *Connector) options() *DialOptions {
	var opts DialOptions
	if c.Options != nil {
		opts = *c.Options
	}
	if c.Refresh != nil {
		c.Refresh(&opts)
	}
	return &opts
}

// watch returns why s has ended, or is to be replaced, or nil when ctx ends first.
func (c *Connector) watch(ctx context.Context, s *Session) error {
	select {
	case <-s.gone: // and not just Done, so that what comes next is told after it
		return s.Err()
	case <-c.RetryNow:
		c.Sessions.replace(ctx, s, orDefault(c.DrainTimeout, DefaultDrainTimeout))
		return errReconnect
	case <-ctx.Done():
		return nil
	}
}

// backoff is the wait before the dial after the nth short-lived one: full
// jitter, so that many Workers don't come back all at once.
func (c *Connector) backoff(n int) time.Duration {
	limit := orDefault(c.MaxRetryInterval, DefaultMaxRetryInterval)
	ceiling := min(firstRetryInterval<<min(n-1, 20), max(limit, time.Millisecond))
	return 1 + rand.N(ceiling) //nolint:gosec // no secret hangs on when it dials
}

// wait waits before the next dial.
func (c *Connector) wait(ctx context.Context, in time.Duration, reason error) {
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
	}
}

// retryError is a reason with the time of the next dial.
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
