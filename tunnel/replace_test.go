package tunnel

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// next returns the session that takes old's place.
func next(t *testing.T, ss *Sessions, old *Session) *Session {
	t.Helper()
	for {
		s, err := ss.Wait(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if s != old {
			return s
		}
	}
}

// TestConnectorReplaces: a session that is replaced gets no new streams, and
// those that it has go on until DrainTimeout.
func TestConnectorReplaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		drainTimeout time.Duration
		cut          bool
	}{
		{"drains", time.Hour, false},
		{"cuts", -1, true},
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
			stream, err := first.Open(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			write(t, stream, "before")
			far := acceptStream(t, peer.Session)
			expect(t, far, "before")

			now <- struct{}{}
			if second := next(t, c.Sessions, first); second.ID != 2 {
				t.Errorf("session %d, want 2", second.ID)
			}
			if !test.cut {
				write(t, stream, "after")
				expect(t, far, "after")
				if first.Err() != nil {
					t.Errorf("Err() = %v with a stream open", first.Err())
				}
				_ = stream.Close()
			}
			if reason := await(t, "Down", down); !errors.Is(reason, errReconnect) {
				t.Errorf("Down with %v, want %v", reason, errReconnect)
			}
		})
	}
}

// TestConnectorAnswersWithTheDialUnderWay: a session isn't replaced because
// RetryNow asked for one while it was being dialed.
func TestConnectorAnswersWithTheDialUnderWay(t *testing.T) {
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
	await(t, "the dial", dialed)
	now <- struct{}{}
	close(answer)
	next(t, c.Sessions, nil)
	if len(now) > 0 {
		t.Error("the session that was asked for is up, and is to be replaced")
	}
	stop()
	await(t, "Run", result)
}

// TestConnectorTellsDownBeforeRetry: every Down has returned before OnRetry is
// called.
func TestConnectorTellsDownBeforeRetry(t *testing.T) {
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
		if got := await(t, want, events); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	stop()
}

// TestForwarderMovesToTheNextSession: a gRPC client whose session is replaced
// finishes its call there and makes the next one on the new session.
func TestForwarderMovesToTheNextSession(t *testing.T) {
	t.Parallel()
	called, finish := make(chan struct{}), make(chan struct{})
	addr, f := forwardCalls(t, func(context.Context) {
		called <- struct{}{}
		<-finish
	})
	cc := caller(t, addr)
	result := make(chan error, 1)
	go func() { result <- call(soon(t), cc, "old") }()
	await(t, "the call", called)
	old := next(t, f.Sessions, nil)

	f.Sessions.replace(t.Context(), old, time.Hour)
	serveCalls(t, f.Sessions, nil)
	if !cc.WaitForStateChange(soon(t), connectivity.Ready) {
		t.Fatal("the client hasn't noticed")
	}
	if err := call(soon(t), cc, "new"); err != nil {
		t.Errorf("call = %v, want it on the new session", err)
	}
	select {
	case err := <-result:
		t.Errorf("the old call ended: %v", err)
	default:
	}
	close(finish)
	if err := await(t, "the old call", result); err != nil {
		t.Errorf("the old call = %v, want it to finish", err)
	}
	await(t, "the old session's end", old.downDone)
}
