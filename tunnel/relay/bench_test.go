package relay

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// BenchmarkBulk measures one stream from the engineer to the Worker, on a direct session,
// through a relay, and through two, and BenchmarkRoundTrip one byte there and back.
func BenchmarkBulk(b *testing.B) {
	compare(b, func(b *testing.B, near, far *wsmux.Stream) {
		b.Helper()
		received := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, far)
			received <- err
		}()
		p := make([]byte, 256<<10)
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			if _, err := near.Write(p); err != nil {
				b.Fatal(err)
			}
		}
		_ = near.CloseWrite()
		if err := <-received; err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	compare(b, func(b *testing.B, near, far *wsmux.Stream) {
		b.Helper()
		go func() { _, _ = io.Copy(far, far) }()
		p := []byte{0}
		for b.Loop() {
			if _, err := near.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := near.Read(p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func compare(b *testing.B, run func(b *testing.B, near, far *wsmux.Stream)) {
	b.Helper()
	b.Run("direct", func(b *testing.B) {
		arrived := make(chan *wsmux.Session, 1)
		workers := &tunnel.Sessions{}
		workers.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { arrived <- s.Session }})
		opts := dialOptions(Serve, "")
		a := tunnel.NewAcceptor(workers, tunnel.AcceptOptions{Session: opts.Session, Subprotocols: []string{string(Dial)}})
		url := serve(b, a)
		engineer := dialURL(b, url, Dial)
		b.Cleanup(func() { _ = workers.Shutdown(tunneltest.Ended()) })
		runStreams(b, engineer, <-arrived, run)
	})
	for i, name := range []string{"relay", "hop"} {
		b.Run(name, func(b *testing.B) {
			relays := newFleet(b, 1+i, nil)
			worker := dialURL(b, relays[0].url+Path("", "w"), Serve)
			runStreams(b, dialURL(b, relays[i].url+Path("", "w"), Dial), worker, run)
		})
	}
}

func serve(b *testing.B, h http.Handler) (url string) {
	b.Helper()
	srv := httptest.NewServer(h)
	b.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http") + Path("", "w")
}

func dialURL(b *testing.B, url string, role Role) *wsmux.Session {
	b.Helper()
	s, err := tunnel.Dial(b.Context(), url, dialOptions(role, ""))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// runStreams opens a stream, and runs run with both ends of it.
func runStreams(b *testing.B, engineer, worker *wsmux.Session, run func(b *testing.B, near, far *wsmux.Stream)) {
	b.Helper()
	near, err := engineer.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	far, err := worker.Accept()
	if err != nil {
		b.Fatal(err)
	}
	run(b, near, far)
	_ = near.Close()
	_ = far.Close()
}
