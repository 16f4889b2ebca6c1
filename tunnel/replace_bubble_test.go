package tunnel

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The session of a peer that is going away is replaced before it ends: the peer can open
// streams on it until the next one is up, and for a second more. Its open stream goes on.
func TestConnectorReplacesSessionThatGoesAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, down := runScripted(t, nil)
		stream, old := openEcho(t, p)
		_ = old.GoAway()
		since := time.Now()
		p.awaitDials(2)
		if took := time.Since(since); took < leastMoveDelay || took > mostMoveDelay {
			t.Errorf("the next session is dialed %v after GoAway, want %v to %v", took, leastMoveDelay, mostMoveDelay)
		}
		<-time.After(replaceGrace - time.Millisecond)
		if late, err := old.Open(t.Context()); err != nil {
			t.Errorf("the peer's Open before the end of the grace: %v", err)
		} else {
			_ = late.Reset()
		}
		<-time.After(time.Minute)
		if err := echoByte(stream); err != nil {
			t.Error(err)
		}
		_ = stream.Close()
		if reason := tunneltest.Await(t, "Down", down); !errors.Is(reason, mux.ErrRemoteGoAway) {
			t.Errorf("Down with %v, want %v", reason, mux.ErrRemoteGoAway)
		}
		if n := len(p.dialTimes(time.Time{})); n != 2 {
			t.Errorf("%d dials, want 2", n)
		}
	})
}

// A client that waits because the peer is going away makes Run dial at once.
func TestConnectorReplacesAtOnceForWaitingClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := runScripted(t, nil)
		stream, old := openEcho(t, p)
		defer stream.Close()
		_ = old.GoAway()
		synctest.Wait()
		since := time.Now()
		if err := p.call(0); err != nil || time.Since(since) > 0 {
			t.Errorf("call = %v after %v, want success at once", err, time.Since(since))
		}
	})
}

// While the next dial fails, the old session stays up, and the dial is retried.
func TestConnectorKeepsOldSessionUntilDialSucceeds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		goAway bool
		answer error
	}{
		{"RetryNow, no network", false, errRefused},
		{"GoAway, no network", true, errRefused},
		{"GoAway, a draining peer", true, &HandshakeError{StatusCode: http.StatusServiceUnavailable}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				now := make(chan struct{})
				p, _ := runScripted(t, now)
				stream, old := openEcho(t, p)
				defer stream.Close()
				p.listen(test.answer)
				if test.goAway {
					_ = old.GoAway()
				} else {
					now <- struct{}{}
				}
				<-time.After(20 * time.Second)
				if n := len(p.dialTimes(time.Time{})); n < 3 {
					t.Errorf("%d dials, want 3 at least", n)
				}
				if s, err := old.Open(t.Context()); err != nil {
					t.Errorf("the peer's Open on the old session: %v", err)
				} else {
					_ = s.Reset()
				}
				if !test.goAway {
					if err := p.call(-1); err != nil {
						t.Errorf("a call on the old session: %v", err)
					}
				}
				p.listen(nil)
				<-time.After(time.Minute)
				if n := len(p.connector.Sessions.Snapshot()); n != 2 {
					t.Errorf("%d sessions, want the old one with a stream and a new one", n)
				}
			})
		})
	}
}

// If the peer allows only one session, the old one ends first.
func TestConnectorEndsOldSessionForPeerThatAllowsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := make(chan struct{})
		p, down := runScripted(t, now)
		if err := p.call(0); err != nil {
			t.Fatal(err)
		}
		p.onlyOne = true
		since := time.Now()
		now <- struct{}{}
		if reason := tunneltest.Await(t, "Down", down); !errors.Is(reason, ErrReconnect) {
			t.Errorf("Down with %v, want %v", reason, ErrReconnect)
		}
		if err := p.call(0); err != nil || time.Since(since) > replaceGrace {
			t.Errorf("call = %v after %v, want success within a second", err, time.Since(since))
		}
	})
}

// After each further session that ends with CloseReplaced, the delay is twice as long.
func TestConnectorReplacedDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := runScripted(t, nil)
		for n, least := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			since := time.Now()
			p.close(CloseReplaced)
			p.awaitDials(n + 2)
			if took := time.Since(since); took < least || took > least*6/5 {
				t.Errorf("dialed after %v, want %v or up to a fifth more", took, least)
			}
			<-time.After(time.Minute)
		}
	})
}

// runScripted runs a Connector whose first session is up. down receives the reasons of the
// sessions' ends.
func runScripted(t *testing.T, now chan struct{}) (p *scriptedPeer, down chan error) {
	t.Helper()
	p = newScriptedPeer(t, &Connector{MaxRetries: -1, DrainTimeout: time.Hour, RetryNow: now})
	down = make(chan error, 10)
	p.connector.Sessions.Subscribe(Subscriber{Down: func(_ *Session, reason error) { down <- reason }})
	p.listen(nil)
	p.run()
	t.Cleanup(p.stop)
	synctest.Wait()
	return p, down
}

// openEcho opens a stream, echoes a byte on it, and returns it with the peer's session.
func openEcho(t *testing.T, p *scriptedPeer) (*wsmux.Stream, *wsmux.Session) {
	t.Helper()
	stream, _, err := p.connector.Sessions.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoByte(stream); err != nil {
		t.Fatal(err)
	}
	return stream, p.session
}

// awaitDials waits for the n-th dial.
func (p *scriptedPeer) awaitDials(n int) {
	for len(p.dialTimes(time.Time{})) < n {
		<-time.After(time.Millisecond)
		synctest.Wait()
	}
}
