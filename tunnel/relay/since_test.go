package relay

import (
	"net/http"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// An instance that was replaced doesn't replace the later one when it dials again, but one that
// has restarted does.
func TestEarlierInstance(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{})
	dial := func(instance, since string) (s *wsmux.Session, answer string) {
		opts := dialOptions(Serve, instance)
		if since != "" {
			opts.Header.Set(SinceHeader, since)
		}
		opts.Upgraded = func(h http.Header) { answer = h.Get(SinceHeader) }
		s, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("", "w"), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		go echo(s, "")
		return s, answer
	}
	first, since := dial(instanceA, "")
	await(t, "the first instance", func() bool { return r.knows("w") })
	second, later := dial(instanceB, "")
	awaitCode(t, first, CloseReplaced)
	again, answer := dial(instanceA, since)
	if answer != since {
		t.Errorf("the relay answers %s, want %s, as it was sent", answer, since)
	}
	awaitCode(t, again, CloseReplaced)
	if second.Err() != nil || !r.knows("w") {
		t.Errorf("the later instance: %v, want it to stay", second.Err())
	}
	before := r.newest("w")
	dial(instanceB, later)
	await(t, "the next session of the later instance", func() bool { return r.newest("w") > before })
	dial(instanceA, "") // has restarted, though it has the same number
	awaitCode(t, second, CloseReplaced)
}
