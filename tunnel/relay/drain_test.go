package relay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// While a relay drains, its Workers and engineers move to another one: no dial and no
// stream fails, and no Worker is without a session at any time.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprintf("shared directory %v", shared), func(t *testing.T) {
			t.Parallel()
			var memory Memory
			opts := func(url string) Options {
				o := Options{ID: url, Hold: 20 * time.Second}
				if shared {
					o.Directory = memory.At(url)
				}
				return o
			}
			st := newSite(t)
			first := st.add(t, opts("one"))
			const workers = 10
			var up [workers]atomic.Int32
			for i := range workers {
				st.connect(t, Serve, fmt.Sprintf("w-%d", i), fmt.Sprintf("%032x", i), tunnel.Subscriber{
					Up: func(s *tunnel.Session) {
						up[i].Add(1)
						go echo(s.Session, "")
					},
					Down: func(*tunnel.Session, error) {
						if up[i].Add(-1) == 0 && t.Context().Err() == nil {
							t.Errorf("worker %d is without a session", i)
						}
					},
				})
			}
			await(t, "the workers", func() bool { return count(first, Serve) == workers })

			stop := make(chan struct{})
			var calls atomic.Int64
			var wg sync.WaitGroup
			for i := range workers {
				kept := st.connect(t, Dial, fmt.Sprintf("w-%d", i), "", tunnel.Subscriber{})
				wg.Go(func() { // streams on one session that is kept up
					for !closed(stop) {
						if err := callKept(t.Context(), kept); err != nil {
							t.Errorf("a stream to worker %d: %v", i, err)
						}
						calls.Add(1)
						<-time.After(5 * time.Millisecond)
					}
				})
				wg.Go(func() { // dials
					for !closed(stop) {
						s, err := tunnel.Dial(t.Context(), st.url+Path("", fmt.Sprintf("w-%d", i)), dialOptions(Dial, ""))
						if err != nil {
							t.Errorf("dial worker %d: %v", i, err)
							continue
						}
						_ = s.Close()
						calls.Add(1)
						<-time.After(10 * time.Millisecond)
					}
				})
			}
			await(t, "some calls", func() bool { return calls.Load() > 100 })
			second := st.add(t, opts("two"))
			first.Drain(tunneltest.Soon(t), time.Second)
			before := calls.Load()
			await(t, "further calls", func() bool { return calls.Load() > before+100 })
			close(stop)
			wg.Wait()
			if n := count(second, Serve); n != workers {
				t.Errorf("the second relay has %d workers, want %d", n, workers)
			}
		})
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func callKept(ctx context.Context, sessions *tunnel.Sessions) error {
	stream, _, err := sessions.Open(ctx, 20*time.Second)
	if err != nil {
		return err
	}
	defer stream.Close()
	return exchange(stream, "")
}

// If no other relay accepts the Workers, they stay until no stream is open, or until the
// end of ctx, and then all sessions end with 1012.
func TestDrainAlone(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{true, false} {
		t.Run(fmt.Sprintf("cut %v", cut), func(t *testing.T) {
			t.Parallel()
			r, st := newRelay(t, Options{})
			w := st.worker(t, r, "w", instanceA, "tag")
			e := st.mustDial(t, Dial, "w", "")
			stream, err := e.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tunneltest.Expect(t, stream, "tag")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				r.Drain(ctx, 0)
				close(done)
			}()
			tunneltest.Await(t, "GoAway", w.PeerGoingAway())
			_, err = st.dial(t, Serve, "w", instanceA)
			wantRefusal(t, err, 503, "shutting down")
			if cut {
				cancel()
			} else if err := exchange(stream, ""); err != nil {
				t.Error(err)
			}
			tunneltest.Await(t, "Drain", done)
			for _, s := range []*wsmux.Session{w, e} {
				awaitCode(t, s, websocket.CloseServiceRestart)
			}
			_, err = st.dial(t, Dial, "w", "")
			wantRefusal(t, err, 503, "shutting down")
		})
	}
}
