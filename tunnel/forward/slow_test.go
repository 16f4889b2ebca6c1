package forward_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A slow link that is full of uploads doesn't count as dead, and a small call still
// completes.
func TestSlowLinkFullOfUploads(t *testing.T) {
	t.Parallel()
	busy := 3 * time.Second
	if os.Getenv("WSTUN_LONG_TESTS") != "" {
		busy = time.Minute
	}
	const uploads, rate = 64, 128 << 10

	// The far end discards streams that begin with a 0 byte, and echoes the others.
	far := &tunnel.Sessions{}
	far.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) {
		go func() {
			for {
				stream, err := s.Accept()
				if err != nil {
					return
				}
				go discardOrEcho(stream)
			}
		}()
	}})
	acceptor := tunnel.NewAcceptor(far, tunnel.AcceptOptions{Session: tunnel.SessionOptions{Role: wsmux.Server}})
	relay := tunneltest.NewRelay(t, serve(t, acceptor.Serve))
	relay.SetBandwidth(rate)
	near := &tunnel.Sessions{}
	session, err := tunnel.Dial(t.Context(), "ws://"+relay.Addr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	near.Add(session, "far")
	forwarder := &forward.Forwarder{Sessions: near}
	local := serve(t, forwarder.Serve)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range uploads {
		conn := dialTCP(t, local)
		wg.Go(func() {
			block := make([]byte, 64<<10)
			for {
				if _, err := conn.Write(block); err != nil {
					return
				}
			}
		})
		go func() {
			<-stop
			conn.Close()
		}()
	}
	select {
	case <-time.After(busy):
	case <-session.Done():
		t.Fatalf("the session is down: %v", session.Err())
	}
	small := dialTCP(t, local)
	started := time.Now()
	if _, err := small.Write([]byte("1 small call")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := io.ReadFull(small, answer); err != nil || string(answer) != "1 small call" {
		t.Fatalf("a small call: %q, %v; session: %v", answer, err, session.Err())
	}
	t.Logf("after %v with %d uploads at %d KiB/s a small call took %v", busy, uploads, rate>>10, time.Since(started).Round(time.Millisecond))
	if err := session.Err(); err != nil {
		t.Errorf("the session is down: %v", err)
	}
	close(stop)
	small.Close()
	wg.Wait()
	_ = session.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = forwarder.Shutdown(ended)
	_ = near.Shutdown(t.Context())
	_ = acceptor.Shutdown(t.Context())
	_ = far.Shutdown(ended)
}

func discardOrEcho(stream *wsmux.Stream) {
	defer stream.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(stream, first); err != nil {
		return
	}
	if first[0] == 0 {
		_, _ = io.Copy(io.Discard, stream)
		return
	}
	_, _ = stream.Write(first)
	_, _ = io.Copy(stream, stream)
}

// serve runs f on a new loopback listener and returns its address. When t ends, it
// closes the listener and waits for f to return.
func serve(t *testing.T, f func(net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
