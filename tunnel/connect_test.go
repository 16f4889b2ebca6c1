package tunnel

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// retry is one call of OnRetry.
type retry struct {
	in     time.Duration
	reason error
}

// connector returns a Connector that reports its retries. Start it with run.
func connector(t *testing.T, url string) (*Connector, chan retry) {
	t.Helper()
	retries := make(chan retry, 1000)
	return &Connector{
		URL:              url,
		Sessions:         newSessions(t),
		MaxRetries:       -1,
		MaxRetryInterval: 5 * time.Millisecond,
		OnRetry:          func(in time.Duration, reason error) { retries <- retry{in, reason} },
	}, retries
}

// run runs c until the test ends or stop is called.
func run(t *testing.T, c *Connector) (result <-chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return ended, cancel
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, test := range []struct {
		n           int
		limit       time.Duration
		least, most time.Duration
	}{
		{1, 0, 160 * ms, 240 * ms},
		{2, 0, 320 * ms, 480 * ms},
		{5, 0, 2560 * ms, 3840 * ms},
		{100, 0, 20 * time.Second, DefaultMaxRetryInterval},
		{1 << 40, 0, 20 * time.Second, DefaultMaxRetryInterval},
		{3, 12 * ms, 8 * ms, 12 * ms},
		{3, -1, ms * 2 / 3, ms},
	} {
		var least, most time.Duration = time.Hour, 0
		for range 1000 {
			d := Backoff(test.n, test.limit)
			least, most = min(least, d), max(most, d)
		}
		margin := (test.most - test.least) / 4
		if least < test.least-1 || most > test.most || least > test.least+margin || most < test.most-margin {
			t.Errorf("Backoff(%d) with limit %v is from %v to %v, want from %v to %v", test.n, test.limit, least, most, test.least, test.most)
		}
	}
}

func TestConnectorRetriesAndRedials(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	refuse.Store(true)
	sessions := newSessions(t)
	a := NewAcceptor(sessions, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		a.ServeHTTP(w, r)
	}))
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	c, retries := connector(t, url)
	result, stop := run(t, c)
	for range 3 {
		r := tunneltest.Await(t, "a retry", retries)
		if want := "dial " + url + ": handshake: 502 Bad Gateway"; r.reason.Error() != want {
			t.Errorf("reason = %v, want %s", r.reason, want)
		}
		if r.in <= 0 || r.in > c.MaxRetryInterval {
			t.Errorf("in = %v, want up to %v", r.in, c.MaxRetryInterval)
		}
	}
	refuse.Store(false)
	for id := range uint64(3) {
		s, err := c.Sessions.Wait(tunneltest.Soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != id+1 || s.Remote != url {
			t.Errorf("session %d to %s, want %d to %s", s.ID, s.Remote, id+1, url)
		}
		peer, err := sessions.Wait(tunneltest.Soon(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = peer.Close()
		tunneltest.Await(t, "the session's end", s.Done())
		for got := s; got == s; {
			if got, err = c.Sessions.Wait(tunneltest.Soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		tunneltest.Await(t, "the peer's end", peer.Done())
		for got := peer; got == peer; {
			if got, err = sessions.Wait(tunneltest.Soon(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, _ := c.Sessions.Wait(tunneltest.Soon(t))
	stop()
	if err := tunneltest.Await(t, "Run", result); err != nil {
		t.Errorf("Run = %v, want nil when ctx ends", err)
	}
	if s.Err() != nil {
		t.Errorf("the session ended with Run: %v", s.Err())
	}
}

func TestConnectorGivesUp(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(handler(http.StatusBadGateway, nil, ""))
	defer srv.Close()
	for _, test := range []struct {
		max  int
		want string
	}{
		{0, "dial " + srv.URL + ": handshake: 502 Bad Gateway"},
		{2, "dial " + srv.URL + ": handshake: 502 Bad Gateway (gave up after 3 attempts)"},
	} {
		c, retries := connector(t, srv.URL)
		c.MaxRetries = test.max
		err := c.Run(tunneltest.Soon(t))
		if ge, ok := errors.AsType[*GaveUpError](err); !ok || ge.Attempts != test.max+1 || err.Error() != test.want {
			t.Errorf("Run with %d retries = %v, want %s", test.max, err, test.want)
		}
		if len(retries) != test.max {
			t.Errorf("%d retries, want %d", len(retries), test.max)
		}
	}
}

func TestConnectorEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		srv := httptest.NewServer(handler(code, nil, ""))
		defer srv.Close()
		c, retries := connector(t, srv.URL)
		err := c.Run(tunneltest.Soon(t))
		if he, ok := errors.AsType[*HandshakeError](err); !ok || he.StatusCode != code || len(retries) > 0 {
			t.Errorf("Run = %v after %d retries, want %d after none", err, len(retries), code)
		}
	}
	c, _ := connector(t, "nonsense")
	if err := c.Run(tunneltest.Soon(t)); err == nil || !strings.Contains(err.Error(), "no scheme") {
		t.Errorf("Run = %v, want an error about the URL", err)
	}
	c, _ = connector(t, "ws://127.0.0.1:1")
	if err := c.Run(tunneltest.Ended()); err != nil {
		t.Errorf("Run = %v, want nil when ctx has ended", err)
	}
	e := newEndpoint(t, AcceptOptions{}, (*httptest.Server).Start)
	c, _ = connector(t, e.url)
	_ = c.Sessions.Shutdown(tunneltest.Ended())
	if err := c.Run(tunneltest.Soon(t)); err != nil {
		t.Errorf("Run = %v, want nil when the set is shut down", err)
	}
}

func TestConnectorRetryNow(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	refuse.Store(true)
	a := NewAcceptor(newSessions(t), AcceptOptions{Session: SessionOptions{Role: wsmux.Server}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		a.ServeHTTP(w, r)
	}))
	defer srv.Close()
	now := make(chan struct{})
	c, retries := connector(t, srv.URL)
	c.RetryNow = now
	c.MaxRetryInterval = time.Hour
	result, stop := run(t, c)
	// On average, each delay is twice the previous one: without RetryNow, this would
	// take days.
	for range 20 {
		tunneltest.Await(t, "a retry", retries)
		select {
		case now <- struct{}{}:
		case <-time.After(tunneltest.Patience):
			t.Fatal("Run doesn't receive from RetryNow")
		}
	}
	tunneltest.Await(t, "a retry", retries)
	if _, err := c.Sessions.Wait(tunneltest.Ended()); err == nil || !strings.Contains(err.Error(), "502 Bad Gateway (next try in ") {
		t.Errorf("Wait = %v, want the reason and the next try", err)
	}
	refuse.Store(false)
	now <- struct{}{}
	first, err := c.Sessions.Wait(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	now <- struct{}{} // replaces the session that is up
	tunneltest.Await(t, "the first session's end", first.Done())
	for got := first; got == first; {
		if got, err = c.Sessions.Wait(tunneltest.Soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	tunneltest.Await(t, "Run", result)
}

// The peer and the proxy determine when they are dialed again, whatever MaxRetryInterval is.
func TestConnectorRetryAfter(t *testing.T) {
	t.Parallel()
	soon := func() string { return time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat) }
	for _, test := range []struct {
		name        string
		code        int
		after       string
		proxy       bool
		least, most time.Duration
	}{
		{"seconds", 429, "4", false, 4 * time.Second, 5 * time.Second},
		{"a time", 503, soon(), false, time.Minute, 2*time.Minute + time.Second},
		{"too long", 503, "86400", false, 5 * time.Minute, 5*time.Minute + time.Second},
		{"from a proxy", 503, "7", true, 7 * time.Second, 8 * time.Second},
		{"not for this status", 502, "4", false, 0, 5 * time.Millisecond},
		{"none", 503, "", false, 0, 5 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(handler(test.code, http.Header{"Retry-After": {test.after}}, ""))
			defer srv.Close()
			c, retries := connector(t, srv.URL)
			if test.proxy {
				c.URL, c.Options = "ws://hub.test/", &DialOptions{Proxy: srv.URL}
			}
			result, stop := run(t, c)
			if r := tunneltest.Await(t, "a retry", retries); r.in < test.least || r.in > test.most {
				t.Errorf("in = %v, want %v to %v: %v", r.in, test.least, test.most, r.reason)
			}
			stop()
			tunneltest.Await(t, "Run", result)
		})
	}
}

// A peer that accepts sessions and ends them at once is dialed less and less often.
func TestConnectorBacksOffFromFlapping(t *testing.T) {
	t.Parallel()
	sessions := &Sessions{}
	sessions.Subscribe(Subscriber{Up: func(s *Session) { _ = s.Close() }})
	t.Cleanup(func() { _ = sessions.Shutdown(tunneltest.Ended()) })
	srv := httptest.NewServer(NewAcceptor(sessions, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}))
	defer srv.Close()
	now := make(chan struct{})
	c, retries := connector(t, srv.URL)
	c.RetryNow = now
	c.MaxRetries = 0 // applies to failed dials only
	c.MaxRetryInterval = time.Hour
	result, stop := run(t, c)
	var longest time.Duration
	for range 12 {
		longest = max(longest, tunneltest.Await(t, "a retry", retries).in)
		now <- struct{}{}
	}
	if longest < 2*time.Second {
		t.Errorf("the longest delay was %v, want at least 2s", longest)
	}
	stop()
	if err := tunneltest.Await(t, "Run", result); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRetryError(t *testing.T) {
	t.Parallel()
	reason := errors.New("reason")
	for in, want := range map[time.Duration]string{
		90 * time.Second: "reason (next try in 1m30s)",
		-time.Second:     "reason (trying again now)",
	} {
		err := &retryError{reason, time.Now().Add(in)}
		if err.Error() != want || !errors.Is(err, reason) {
			t.Errorf("Error() = %s, want %s", err, want)
		}
	}
}
