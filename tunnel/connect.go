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

	// stablePeriod is how long a session must last to reset the retry interval:
	// a peer that accepts and drops at once must not be dialed in a tight loop.
	stablePeriod = 10 * time.Second
)

// GaveUpError is why a Connector with a limit of retries has ended.
type GaveUpError struct {
	Attempts int   // dials that failed in a row
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
	// URL and Options are the arguments of Dial.
	URL     string
	Options *DialOptions

	// Refresh, if set, is called before each dial with a copy of Options, to
	// update certificates and tokens.
	Refresh func(*DialOptions)

	// Sessions is the set to which Run adds each session.
	Sessions *Sessions

	// MaxRetries is how many more dials may fail in a row after the first
	// failure; a negative number means no limit. Default: 0.
	MaxRetries int

	// MaxRetryInterval limits the wait before the next dial. The wait is random,
	// up to 200 ms after the first failure and up to twice as long after each
	// further one. Default: DefaultMaxRetryInterval.
	MaxRetryInterval time.Duration

	// OnRetry, if set, is called before each wait, with its length and reason.
	OnRetry func(in time.Duration, reason error)

	// RetryNow makes Run dial at once when it receives a value: it ends a wait,
	// or replaces the session that is up. A dial in progress that succeeds
	// satisfies it. RetryNow must not be closed. Default: nil.
	RetryNow <-chan struct{}

	// DrainTimeout is how long the streams of a replaced session may go on. A
	// negative one cuts them at once. Default: DefaultDrainTimeout.
	DrainTimeout time.Duration
}

// errReconnect is why a session that RetryNow has replaced ends.
var errReconnect = errors.New("reconnecting, as asked")

// Run dials, waits until the session has ended and every Subscriber.Down has
// returned, and dials again. It returns nil when ctx ends or Sessions is shut
// down; Sessions still owns the last session. It returns a *DialError at once if
// the URL is invalid or the peer or the proxy refuses the credentials, and a
// *GaveUpError after MaxRetries.
func (c *Connector) Run(ctx context.Context) error {
	u, err := outbound.ParseURL(c.URL)
	if err != nil {
		return &DialError{Err: err}
	}
	if _, err := outbound.ProxyFor(c.options().Proxy, u); err != nil {
		return &DialError{URL: outbound.RedactURL(u), Err: err}
	}
	failed := 0 // consecutive failed dials
	short := 0  // consecutive failed dials and sessions shorter than stablePeriod
	for ctx.Err() == nil {
		session, err := Dial(ctx, c.URL, c.options())
		if err == nil {
			failed = 0
			select {
			case <-c.RetryNow: // satisfied by this dial
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
	return nil //nolint:nilerr // ctx has ended, which is no error
}

// refused reports whether the peer or a proxy has refused the credentials.
// Another try would fail too, and might lock the account.
func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

// options returns the options of the next dial.
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

// watch waits until s ends or RetryNow replaces it, and returns the reason, or
// nil if ctx ends first.
func (c *Connector) watch(ctx context.Context, s *Session) error {
	select {
	case <-s.downDone: // not Done: OnRetry is called after Down
		return s.Err()
	case <-c.RetryNow:
		c.Sessions.replace(ctx, s, orDefault(c.DrainTimeout, DefaultDrainTimeout))
		return errReconnect
	case <-ctx.Done():
		return nil
	}
}

// backoff returns the wait before the next dial when n have been short: with
// full jitter, so that many Workers don't reconnect at the same moment.
func (c *Connector) backoff(n int) time.Duration {
	limit := orDefault(c.MaxRetryInterval, DefaultMaxRetryInterval)
	ceiling := min(firstRetryInterval<<min(n-1, 20), max(limit, time.Millisecond))
	return 1 + rand.N(ceiling) //nolint:gosec // the time of a dial is no secret
}

// wait waits before the next dial, until in has passed, RetryNow or the end of ctx.
func (c *Connector) wait(ctx context.Context, in time.Duration, reason error) {
	c.Sessions.SetDownReason(&retryError{reason, time.Now().Add(in)})
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
