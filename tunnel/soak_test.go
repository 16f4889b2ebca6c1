package tunnel_test

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A thousand sessions that end in different ways leave no goroutine and no file open.
// The test isn't parallel, because it counts those of the whole process.
func TestSoak(t *testing.T) {
	const cycles = 1000
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { go echoStreams(s) }})
	acceptor := tunnel.NewAcceptor(sessions, tunnel.AcceptOptions{Session: tunnel.SessionOptions{Role: wsmux.Server}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan error, 1)
	go func() { serving <- acceptor.Serve(l) }()
	relay := tunneltest.NewRelay(t, l.Addr().String())

	ends := []struct {
		name string
		end  func(*wsmux.Session, *wsmux.Stream)
	}{
		{"closed", func(s *wsmux.Session, _ *wsmux.Stream) { _ = s.Close() }},
		{"cut", func(*wsmux.Session, *wsmux.Stream) { relay.Cut() }},
		{"shut down", func(s *wsmux.Session, stream *wsmux.Stream) {
			_ = stream.Close()
			_ = s.Shutdown(context.Background())
		}},
		{"cut with data in flight", func(_ *wsmux.Session, stream *wsmux.Stream) {
			_, _ = stream.Write(make([]byte, 100_000))
			relay.Cut()
		}},
	}
	cycle := func(i int) {
		session, err := tunnel.Dial(t.Context(), "ws://"+relay.Addr()+"/", nil)
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		stream, err := session.Open(t.Context())
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if _, err := stream.Write([]byte("hello")); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if _, err := io.ReadFull(stream, make([]byte, 5)); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		how := ends[i%len(ends)]
		how.end(session, stream)
		select {
		case <-session.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("cycle %d: %s, but the session is still up", i, how.name)
		}
		_ = stream.Close()
		_ = session.Close()
	}
	for i := range 2 * len(ends) { // fills pools and starts lazy goroutines
		cycle(i)
	}
	goroutines, files := settled(t, 0, 0)
	for i := range cycles {
		cycle(i)
	}
	after, open := settled(t, goroutines, files)
	t.Logf("%d cycles: goroutines %d → %d, open files %d → %d", cycles, goroutines, after, files, open)
	if after > goroutines || open > files {
		buf := make([]byte, 1<<20)
		t.Errorf("%d cycles: goroutines %d → %d, open files %d → %d\n%s",
			cycles, goroutines, after, files, open, buf[:runtime.Stack(buf, true)])
	}
	if err := acceptor.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := sessions.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-serving; err != nil {
		t.Error(err)
	}
}

func echoStreams(s *tunnel.Session) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			_, _ = io.Copy(stream, stream)
		}()
	}
}

// settled counts goroutines and open files. It waits until there are as few as wanted,
// or until the numbers have been stable for two seconds.
func settled(t *testing.T, wantGoroutines, wantFiles int) (goroutines, files int) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for still := 0; still < 40; {
		<-tick.C
		g, f := runtime.NumGoroutine(), openFiles()
		if g <= wantGoroutines && f <= wantFiles {
			return g, f
		}
		if g == goroutines && f == files {
			still++
		} else {
			still = 0
		}
		goroutines, files = g, f
	}
	return goroutines, files
}

// openFiles counts the process's open files, or returns 0 without /proc.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
