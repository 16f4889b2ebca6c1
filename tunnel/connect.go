package tunnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// DefaultMaxRetryInterval is the default of Connector.MaxRetryInterval.
	DefaultMaxRetryInterval = 30 * time.Second

	defaultDrainTimeout = 30 * time.Second
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
	// success resets the count, and the dials for a waiting client don't count.
	// Negative: no limit. Default: 0.
	MaxRetries int

	// MaxRetryInterval limits the delay before the next dial: 200 ms at first, and twice
	// the previous delay after each further failure, all ±20 %. A session in which the
	// peer has sent bytes on a stream, or that lasted 10 s, resets the delay.
	//
	// A call of Sessions.Wait or Sessions.Open that waits makes Run dial at once, but at
	// most every 250 ms.
	//
	// Both apply unless the peer asks for patience: the delay is longer, and waiting calls
	// don't end it, if the peer or a proxy sends Retry-After (see outbound.RetryAfter; up to
	// a second is added), or the peer closes the session with a status code that asks for
	// it: 1012 means up to 5 s, 1013 5 to 30 s, and CloseReplaced a minute at least, twice
	// as long after each further one.
	// After a 429 response without Retry-After, waiting calls don't end the delay either.
	// Default: DefaultMaxRetryInterval.
	MaxRetryInterval time.Duration

	// OnRetry, if set, is called before each delay, with its length and its reason. A
	// waiting call may end the delay early.
	OnRetry func(in time.Duration, reason error)

	// A value on RetryNow ends the current delay, or replaces the session that is up
	// by a new one, as Run describes. While Run dials, a value has no effect if the dial succeeds.
	// RetryNow must not be closed. Default: nil.
	RetryNow <-chan struct{}

	// DrainTimeout is how long the streams of a replaced session may stay open;
	// negative: not at all. Default: 30 s.
	DrainTimeout time.Duration

	dialWebSocket func(context.Context, string, *DialOptions) (*websocket.Conn, error) // for tests; nil: DialWebSocket
}

// ErrReconnect is the reason of a session that Connector.RetryNow has replaced.
var ErrReconnect = errors.New("reconnecting, as asked")

// Run dials a session, waits until it has ended and every Subscriber.Down has returned,
// and dials again.
//
// If the peer of a session is going away, or RetryNow has a value, Run dials the next
// session while the old one is still up. After GoAway it first waits for up to a second,
// so that many Workers don't dial at the same time, unless a call of Sessions.Wait or
// Sessions.Open waits. The old session is used until the new one is up. A second later
// Run shuts it down, and its streams may stay open for DrainTimeout. If the peer may
// have refused the new session because it allows only one, with 409, 429 or 503, Run
// shuts down the old session first. After GoAway it does so only for 409, and for the
// others once DrainTimeout has passed: a peer that stops refuses sessions, too.
//
// Run returns nil when ctx ends or Sessions is shut down; the last session stays up,
// because Sessions owns it. It returns a *DialError without a retry if the URL is invalid
// or the peer or the proxy refuses the credentials, and a *GaveUpError after MaxRetries.
func (c *Connector) Run(ctx context.Context) error {
	u, err := outbound.ParseURL(c.URL)
	if err != nil {
		return &DialError{Err: err}
	}
	first := c.options()
	if _, err := outbound.ProxyFor(first.Proxy, u); err != nil {
		return &DialError{URL: outbound.RedactURL(c.URL), Err: err}
	}
	var old oldSession // still up while the next one is dialed
	failed := 0        // consecutive failed dials, without the early ones
	delays := 0        // since a session that resets the delay
	replaced := 0      // consecutive sessions that ended with CloseReplaced
	early := false     // a waiting client has cut the delay short
	var next time.Time // when to dial without a waiting client
	maxMessage := first.Session.MaxMessage
	for ctx.Err() == nil {
		opts := c.options()
		opts.Session.MaxMessage = maxMessage
		dialed := time.Now()
		s, err := c.dial(ctx, opts)
		switch {
		case err == nil && s == nil:
			return nil // shutting down
		case err == nil:
			failed, early = 0, false
			c.release(ctx, old.Session, replaceGrace)
			err = c.watch(ctx, s)
			old = oldSession{s, time.Now()}
			maxMessage = opts.Session.nextMaxMessage(err)
			if replaced++; !isReplaced(err) {
				replaced = 0
			}
			if hasProved(s) {
				delays = 0
			}
		case c.mustEndFirst(old, err):
			c.release(ctx, old.Session, 0)
			old.awaitEnd(ctx)
			old = oldSession{}
			continue
		case !early:
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
		if errors.Is(err, ErrReconnect) || errors.Is(err, mux.ErrRemoteGoAway) && hasProved(s) {
			early = false
			continue
		}
		if !early {
			delays++
			next = time.Now().Add(max(Backoff(delays, c.MaxRetryInterval), replacedDelay(replaced)))
		}
		early = c.wait(ctx, next, dialed, err)
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
	dial := c.dialWebSocket
	if dial == nil {
		dial = DialWebSocket
	}
	conn, err := dial(ctx, c.URL, opts)
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
