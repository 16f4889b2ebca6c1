package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// DefaultMaxRetryInterval is the default of Connector.MaxRetryInterval.
	DefaultMaxRetryInterval = 30 * time.Second

	defaultDrainTimeout = 30 * time.Second

	firstRetryInterval = 200 * time.Millisecond

	// stablePeriod is how long a session must last to reset the retry interval, so
	// that a peer that accepts sessions but ends them at once isn't dialed in a
	// tight loop.
	stablePeriod = 10 * time.Second
)

// GaveUpError means that MaxRetries of a Connector is exceeded.
type GaveUpError struct {
	Attempts int   // consecutive dials that failed
	Err      error // of the last one
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

	// MaxRetries is how often Run dials again after a failure before it returns; a
	// success resets the count. Negative: no limit. Default: 0.
	MaxRetries int

	// MaxRetryInterval limits the delay before the next dial. The delay is random:
	// up to 200 ms after the first failure, and up to twice the previous limit after
	// each further one. It is longer if the peer or a proxy asks for that with
	// Retry-After: see outbound.RetryAfter. Default: DefaultMaxRetryInterval.
	MaxRetryInterval time.Duration

	// OnRetry, if set, is called before each delay, with its length and its reason.
	OnRetry func(in time.Duration, reason error)

	// A value on RetryNow ends the current delay, or replaces the session that is up
	// by a new one. While Run dials, a value has no effect if the dial succeeds.
	// RetryNow must not be closed. Default: nil.
	RetryNow <-chan struct{}

	// DrainTimeout is how long the streams of a replaced session may stay open;
	// negative: not at all. Default: 30 s.
	DrainTimeout time.Duration
}

// errReconnect is the reason of a session that RetryNow has replaced.
var errReconnect = errors.New("reconnecting, as asked")

// Run dials a session, waits until it has ended and every Subscriber.Down has returned,
// and dials again. It returns nil when ctx ends or Sessions is shut down; the last
// session stays up, because Sessions owns it. It returns a *DialError without a retry
// if the URL is invalid or the peer or the proxy refuses the credentials, and a
// *GaveUpError after MaxRetries.
func (c *Connector) Run(ctx context.Context) error {
	u, err := outbound.ParseURL(c.URL)
	if err != nil {
		return &DialError{Err: err}
	}
	first := c.options()
	if _, err := outbound.ProxyFor(first.Proxy, u); err != nil {
		return &DialError{URL: outbound.RedactURL(c.URL), Err: err}
	}
	failed := 0 // consecutive failed dials
	short := 0  // consecutive failed dials or sessions shorter than stablePeriod
	maxMessage := first.Session.MaxMessage
	for ctx.Err() == nil {
		opts := c.options()
		opts.Session.MaxMessage = maxMessage
		s, err := c.dial(ctx, opts)
		if err == nil {
			if s == nil {
				return nil // shutting down
			}
			failed = 0
			up := time.Now()
			err = c.watch(ctx, s)
			maxMessage = opts.Session.nextMaxMessage(err)
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
		c.wait(ctx, max(c.backoff(short), retryAfter(err)), err)
	}
	return nil //nolint:nilerr // the end of ctx isn't an error
}

// refused reports whether the peer or a proxy has refused the credentials. A retry
// would fail, too, and might lock the account.
func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

// retryAfter returns how long the peer or a proxy asks to wait before the next dial.
func retryAfter(err error) time.Duration {
	if he, ok := errors.AsType[*HandshakeError](err); ok {
		return he.RetryAfter
	}
	if pe, ok := errors.AsType[*outbound.ProxyError](err); ok {
		return pe.RetryAfter
	}
	return 0
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

// dial dials a session and adds it to c.Sessions. It returns nil after Shutdown has begun.
func (c *Connector) dial(ctx context.Context, opts *DialOptions) (*Session, error) {
	conn, err := DialWebSocket(ctx, c.URL, opts)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.RetryNow: // this session is new enough
	default:
	}
	s, err := c.Sessions.start(conn, wsmux.Dialing, &opts.Session, outbound.RedactURL(c.URL))
	if err != nil {
		return nil, &DialError{Err: err}
	}
	return s, nil
}

// watch waits until s has ended or RetryNow has replaced it, and returns the reason. It
// returns nil if ctx ends first.
func (c *Connector) watch(ctx context.Context, s *Session) error {
	select {
	case <-s.downDone: // later than Done, so that OnRetry is called after Down
		return s.Err()
	case <-c.RetryNow:
		c.Sessions.replace(ctx, s, orDefault(c.DrainTimeout, defaultDrainTimeout))
		return errReconnect
	case <-ctx.Done():
		return nil
	}
}

// backoff returns the delay before the next dial after n short ones. It has full
// jitter, so that many Workers don't reconnect at the same time.
func (c *Connector) backoff(n int) time.Duration {
	limit := orDefault(c.MaxRetryInterval, DefaultMaxRetryInterval)
	ceiling := min(firstRetryInterval<<min(n-1, 20), max(limit, time.Millisecond))
	return 1 + rand.N(ceiling) //nolint:gosec // the time of a dial is no secret
}

// wait waits for the duration in, RetryNow, or the end of ctx, whichever is first.
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
