package relay

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A handshake waits for the Worker up to Hold.
func TestHold(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: tunneltest.Patience, MaxHolds: 1})
	result := make(chan error, 1)
	go func() {
		e, err := st.dial(t, Dial, "w", "")
		if err == nil {
			err = call(t.Context(), e, "")
		}
		result <- err
	}()
	await(t, "the hold", func() bool { return r.Snapshot().Holds == 1 })
	_, err := st.dial(t, Dial, "w", "")
	wantRefusal(t, err, http.StatusServiceUnavailable, "too many dials wait")
	st.worker(t, r, "other", "", "")
	st.worker(t, r, "w", "", "")
	if err := tunneltest.Await(t, "the dial", result); err != nil {
		t.Errorf("the dial that waited: %v", err)
	}
	await(t, "the end of the hold", func() bool { return r.Snapshot().Holds == 0 })
	if n := len(r.arrivals); n > 0 {
		t.Errorf("%d arrivals left", n)
	}
}

// A handshake that waits ends with Hold, with its client, and with a drain.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	var recs records
	r, st := newRelay(t, Options{Hold: 20 * time.Millisecond, Observe: recs.observe})
	_, err := st.dial(t, Dial, "w", "")
	wantRefusal(t, err, http.StatusNotFound, "w isn't connected")
	if all := recs.of("refusal", Dial); len(all) != 1 || all[0].Code != http.StatusNotFound || all[0].Name != "w" {
		t.Errorf("the records of the refusal are %+v", all)
	}

	r, st = newRelay(t, Options{Hold: tunneltest.Patience})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 2)
	go func() {
		_, err := tunnel.Dial(ctx, st.url+Path("", "w"), dialOptions(Dial, ""))
		result <- err
	}()
	await(t, "the hold", func() bool { return r.Snapshot().Holds == 1 })
	cancel()
	<-result
	await(t, "the end of the hold", func() bool { return r.Snapshot().Holds == 0 })

	go func() {
		_, err := st.dial(t, Dial, "w", "")
		result <- err
	}()
	await(t, "the hold", func() bool { return r.Snapshot().Holds == 1 })
	r.Drain(t.Context(), 0)
	wantRefusal(t, tunneltest.Await(t, "the dial", result), http.StatusServiceUnavailable, "shutting down")
}
