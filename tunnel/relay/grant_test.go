package relay

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Recheck ends the sessions whose Grant isn't valid any more, and only those.
func TestRecheck(t *testing.T) {
	t.Parallel()
	var isRevoked atomic.Bool
	r, st := newRelay(t, Options{Authorize: func(_ *http.Request, role Role, _ string) (Grant, error) {
		if role == Serve {
			return Grant{Subject: "workers"}, nil
		}
		return Grant{Subject: "alice", Check: func() error {
			if isRevoked.Load() {
				return errors.New("no such token")
			}
			return nil
		}}, nil
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
	// A session that begins after Recheck, with an older Grant.
	awaitCode(t, st.mustDial(t, Dial, "w", ""), CloseRevoked)
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
