package relay

import (
	"net/http"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// When the relay drains that has the Worker, or the one that has sent the handshake on, a quiet
// engineer moves before its session ends: Drain doesn't wait for it, and no stream fails.
func TestDrainWithHops(t *testing.T) {
	t.Parallel()
	for name, drained := range map[string]int{"the worker's relay": 0, "the hop": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rs := newFleet(t, 3, func(_ int, o *Options) { o.TrustedProxies = loopback })
			workers, engineers := newSite(t), newSite(t) // load balancers
			workers.current.Store(rs[0].current.Load())
			workers.connect(t, Serve, "w", instanceA, tunnel.Subscriber{Up: func(s *tunnel.Session) { go echo(s.Session, "") }})
			await(t, "the worker", func() bool { return rs[0].knows("w") })
			engineers.current.Store(rs[1].current.Load())
			var ups []*tunnel.Session
			up := make(chan *tunnel.Session, 10)
			kept := engineers.connect(t, Dial, "w", "", tunnel.Subscriber{Up: func(s *tunnel.Session) { up <- s }})
			ups = append(ups, tunneltest.Await(t, "the first session", up))
			stream, err := ups[0].Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			workers.current.Store(rs[2].current.Load())
			if drained == 1 {
				engineers.current.Store(rs[2].current.Load())
			}

			ctx := tunneltest.Soon(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				rs[drained].Drain(ctx, 0)
			}()
			ups = append(ups, tunneltest.Await(t, "the next session", up))
			if err := exchange(stream, ""); err != nil {
				t.Errorf("the stream in the first session: %v", err)
			}
			_ = stream.Close()
			if err := callKept(t.Context(), kept); err != nil {
				t.Errorf("a stream in the next session: %v", err)
			}
			tunneltest.Await(t, "the end of Drain", done)
			if ctx.Err() != nil {
				t.Error("Drain has waited for its context")
			}
			tunneltest.Await(t, "the end of the first session", ups[0].Done())
			if err := callKept(t.Context(), kept); err != nil {
				t.Errorf("a stream after the drain: %v", err)
			}
		})
	}
}

// A handshake that another relay accepts while this one begins to drain moves, too.
func TestDrainMeetsHop(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 2, nil)
	rs[0].worker(t, rs[0].Relay, "w", instanceA, "")
	rs[1].mu.Lock()
	rs[1].draining = true // after reach, as it were
	rs[1].mu.Unlock()
	front := newSite(t)
	front.current.Store(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: func(req *http.Request) (*tunnel.Upgrade, error) {
		return rs[1].hop(req, &session{role: Dial, name: "w"}, rs[0].httpURL())
	}}))
	e := front.mustDial(t, Dial, "w", "")
	tunneltest.Await(t, "GoAway", e.PeerGoingAway())
}

// Only the relay that has sent a handshake on can make the engineer move.
func TestForgedHop(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 2, nil)
	rs[0].worker(t, rs[0].Relay, "w", instanceA, "")
	dial := func(m *member, header http.Header) *wsmux.Session {
		opts := dialOptions(Dial, "")
		opts.Header = header
		s, err := tunnel.Dial(tunneltest.Soon(t), m.url+Path("", "w"), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	dial(rs[0], http.Header{HopHeader: {"direct"}})
	hopped := dial(rs[1], http.Header{HopHeader: {"chosen"}})
	own := dial(rs[0], http.Header{HopHeader: {"own"}, ViaHeader: {"r9"}})
	await(t, "the sessions", func() bool { return count(rs[0].Relay, Dial) == 3 })
	end := func(method, secret string) int {
		req, _ := http.NewRequestWithContext(t.Context(), method, rs[0].httpURL()+hopPath+secret, nil)
		resp, err := rs[0].opts.Hop.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, secret := range []string{"", "direct", "chosen", "none", "*", "%6fwn", "own/"} {
		if code := end(http.MethodDelete, secret); code != http.StatusNotFound {
			t.Errorf("DELETE %q: status %d, want 404", secret, code)
		}
	}
	if code := end(http.MethodGet, "own"); code != http.StatusNotFound {
		t.Errorf("GET: status %d, want 404", code)
	}
	if code := end(http.MethodDelete, "own"); code != http.StatusNoContent { // it may move itself
		t.Errorf("DELETE own: status %d, want 204", code)
	}
	tunneltest.Await(t, "GoAway", own.PeerGoingAway())
	if err := call(t.Context(), hopped, ""); err != nil {
		t.Error(err)
	}
	_ = own.Close()
	await(t, "the end of the secret", func() bool { return end(http.MethodDelete, "own") == http.StatusNotFound })
}
