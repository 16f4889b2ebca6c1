package relay

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Recheck ends the sessions whose Grant isn't valid any more, and only those.
func TestRecheck(t *testing.T) {
	t.Parallel()
	var isRevoked, hasExpired atomic.Bool
	r, st := newRelay(t, Options{Authorize: func(_ *http.Request, role Role, _ string) (Grant, error) {
		if role == Serve {
			return Grant{Subject: "workers"}, nil
		}
		grant := Grant{Subject: "alice", Check: func() error {
			if isRevoked.Load() {
				return errors.New("no such token")
			}
			return nil
		}}
		if hasExpired.Load() {
			grant.Expires = time.Now()
		}
		return grant, nil
	}})
	w := st.worker(t, r, "w", "", "")
	e := st.mustDial(t, Dial, "w", "")
	r.Recheck()
	if err := call(tunneltest.Soon(t), e, ""); err != nil {
		t.Error(err)
	}
	isRevoked.Store(true)
	r.Recheck()
	awaitCode(t, e, CloseRevoked)
	if w.Err() != nil {
		t.Errorf("the worker's session has ended: %v", w.Err())
	}
	// The check of a Grant that has expired fails, too.
	hasExpired.Store(true)
	awaitCode(t, st.mustDial(t, Dial, "w", ""), CloseExpired)
	hasExpired.Store(false)
	// A session that begins after Recheck, with an older Grant.
	awaitCode(t, st.mustDial(t, Dial, "w", ""), CloseRevoked)
}

// A session ends when its Grant expires, at most a second late. Half a minute before, the peer is
// told to dial again, unless it has just done so.
func TestExpires(t *testing.T) {
	t.Parallel()
	const left = 300 * time.Millisecond
	var expires atomic.Pointer[time.Time]
	rs := &records{}
	r, st := newRelay(t, Options{Observe: rs.observe, Authorize: func(_ *http.Request, role Role, _ string) (Grant, error) {
		return Grant{Subject: "alice", Rule: "dev", KeyID: "k1", TokenID: "t-1", Expires: *expires.Load()}, nil
	}})
	in := func(d time.Duration) time.Time {
		at := time.Now().Add(d)
		expires.Store(&at)
		return at
	}
	in(time.Hour)
	w := st.worker(t, r, "w", "", "")
	in(expiryNotice + left)
	notified := st.mustDial(t, Dial, "w", "")
	end := in(left)
	e := st.mustDial(t, Dial, "w", "")
	if err := call(tunneltest.Soon(t), e, ""); err != nil {
		t.Error(err)
	}
	select {
	case <-e.PeerGoingAway():
		t.Error("a session that has just begun is told to dial again")
	case <-e.Done():
	}
	if late := time.Since(end); late < 0 || late > time.Second {
		t.Errorf("the session ended %v late", late)
	}
	awaitCode(t, e, CloseExpired)
	tunneltest.Await(t, "GoAway", notified.PeerGoingAway())
	if err := errors.Join(notified.Err(), w.Err()); err != nil {
		t.Errorf("other sessions have ended: %v", err)
	}
	await(t, "the record", func() bool { return len(rs.of("session", Dial)) == 1 })
	rec := rs.of("session", Dial)[0]
	if rec.Subject != "alice" || rec.Rule != "dev" || rec.KeyID != "k1" || rec.TokenID != "t-1" || !strings.Contains(rec.Reason, expired) {
		t.Errorf("the record is %+v", rec)
	}
}

// A subject has a limited number of sessions, but a Worker may always replace its own.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1, Authorize: func(_ *http.Request, role Role, name string) (Grant, error) {
		return Grant{Subject: string(role), MaxSessions: 2}, nil
	}})
	st.worker(t, r, "w", instanceA, "")
	_, err := st.dial(t, Dial, "absent", "") // doesn't count
	wantRefusal(t, err, http.StatusNotFound, "isn't connected")
	await(t, "the end of the handshake", func() bool { return r.sessionsOf(string(Dial)) == 0 })
	st.mustDial(t, Dial, "w", "")
	e := st.mustDial(t, Dial, "w", "")
	_, err = st.dial(t, Dial, "w", "")
	wantRefusal(t, err, http.StatusTooManyRequests, "too many sessions")
	_ = e.Close()
	await(t, "the session's end", func() bool { return r.sessionsOf(string(Dial)) == 1 })
	st.mustDial(t, Dial, "w", "")

	st.worker(t, r, "w-2", instanceB, "")
	_, err = st.dial(t, Serve, "w-3", "")
	wantRefusal(t, err, http.StatusTooManyRequests, "too many sessions")
	st.worker(t, r, "w", instanceA, "")
}

func (r *Relay) sessionsOf(subject string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subjects[subject]
}

// MaxStreams of a Grant replaces that of the relay.
func TestGrantMaxStreams(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Authorize: func(*http.Request, Role, string) (Grant, error) { return Grant{MaxStreams: 1}, nil }})
	st.worker(t, r, "w", "", "")
	e := st.mustDial(t, Dial, "w", "")
	first, err := e.Open(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream", func() bool { return r.Totals().Now.Streams == 1 })
	if err := call(tunneltest.Soon(t), e, ""); err == nil {
		t.Error("a second stream is accepted")
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1})
	st.worker(t, r, "w", instanceA, "")
	e := st.mustDial(t, Dial, "w", "")
	if err := call(tunneltest.Soon(t), e, ""); err != nil {
		t.Fatal(err)
	}
	_, err := st.dial(t, Dial, "absent", "")
	wantRefusal(t, err, http.StatusNotFound, "isn't connected")
	await(t, "the stream's end", func() bool { return r.Totals().Now.Streams == 0 })
	got := r.Totals()
	if got.Workers != 1 || got.Engineers != 1 || got.Streams != 1 || got.Up != 5 || got.Down != 5 || got.Refusals[404] != 1 ||
		got.Now.Names != 1 || got.Now.Workers != 1 || got.Now.Engineers != 1 || got.Takeovers != 0 {
		t.Errorf("totals are %+v", got)
	}
	st.worker(t, r, "w", instanceB, "")
	await(t, "the end of the first worker", func() bool { return r.Totals().Now.Workers == 1 })
	if got := r.Totals(); got.Takeovers != 1 || got.Workers != 2 || got.Up != 5 {
		t.Errorf("totals are %+v", got)
	}
}
