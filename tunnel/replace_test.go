package tunnel

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// next waits for a session other than old and returns it.
func next(t *testing.T, ss *Sessions, old *Session) *Session {
	t.Helper()
	for {
		s, err := ss.Wait(tunneltest.Soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if s != old {
			return s
		}
	}
}

// A replaced session gets no new streams. Its open streams stay open until
// DrainTimeout.
func TestConnectorReplaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		drainTimeout time.Duration
		cut          bool
	}{
		{"drain", time.Hour, false},
		{"no drain", -1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}, (*httptest.Server).Start)
			now, down := make(chan struct{}), make(chan error, 2)
			c, _ := connector(t, e.url)
			c.Sessions.Subscribe(Subscriber{Down: func(_ *Session, reason error) { down <- reason }})
			c.RetryNow = now
			c.DrainTimeout = test.drainTimeout
			run(t, c)
			first := next(t, c.Sessions, nil)
			peer := next(t, e.sessions, nil)
			stream, err := first.Open(tunneltest.Soon(t))
			if err != nil {
				t.Fatal(err)
			}
			tunneltest.Write(t, stream, "before")
			far, err := peer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			tunneltest.Expect(t, far, "before")

			now <- struct{}{}
			if second := next(t, c.Sessions, first); second.ID != 2 {
				t.Errorf("session %d, want 2", second.ID)
			}
			if !test.cut {
				tunneltest.Write(t, stream, "after")
				tunneltest.Expect(t, far, "after")
				if first.Err() != nil {
					t.Errorf("Err() = %v with a stream open", first.Err())
				}
				_ = stream.Close()
			}
			if reason := tunneltest.Await(t, "Down", down); !errors.Is(reason, ErrReconnect) {
				t.Errorf("Down with %v, want %v", reason, ErrReconnect)
			}
		})
	}
}

// A RetryNow during a dial doesn't replace the session that is being dialed.
func TestConnectorRetryNowDuringDial(t *testing.T) {
	t.Parallel()
	dialed, answer := make(chan struct{}), make(chan struct{})
	a := NewAcceptor(newSessions(t), AcceptOptions{Session: SessionOptions{Role: wsmux.Server}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dialed <- struct{}{}
		<-answer
		a.ServeHTTP(w, r)
	}))
	defer srv.Close()
	now := make(chan struct{}, 1)
	c, _ := connector(t, srv.URL)
	c.RetryNow = now
	result, stop := run(t, c)
	tunneltest.Await(t, "the dial", dialed)
	now <- struct{}{}
	close(answer)
	next(t, c.Sessions, nil)
	if len(now) > 0 {
		t.Error("RetryNow still has a value: it would replace the new session")
	}
	stop()
	tunneltest.Await(t, "Run", result)
}

// OnRetry is called after every Down has returned.
func TestConnectorCallsDownBeforeOnRetry(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}, (*httptest.Server).Start)
	c, _ := connector(t, e.url)
	events := make(chan string, 100)
	for range 2 {
		c.Sessions.Subscribe(Subscriber{Down: func(*Session, error) { events <- "down" }})
	}
	c.OnRetry = func(time.Duration, error) { events <- "retry" }
	_, stop := run(t, c)
	_ = next(t, e.sessions, nil).Close()
	for _, want := range []string{"down", "down", "retry"} {
		if got := tunneltest.Await(t, want, events); got != want {
			t.Errorf("event %s, want %s", got, want)
		}
	}
	stop()
}
