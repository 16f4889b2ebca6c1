package mux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// recorder records the observed events, by stream.
type recorder struct {
	mu     sync.Mutex
	events map[uint32][]string
}

func (r *recorder) add(stream uint32, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[stream] = append(r.events[stream], fmt.Sprintf(format, args...))
}

func (r *recorder) get(stream uint32) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[stream])
}

func (r *recorder) observe(id uint32, opened bool) *StreamObserver {
	r.add(id, "opened here: %v", opened)
	return &StreamObserver{
		Accepted: func() { r.add(id, "accepted") },
		Received: func(p []byte) { r.add(id, "received %s", p) },
		Sent:     func(p []byte) { r.add(id, "sent %s", p) },
		Closed:   func(byPeer bool) { r.add(id, "closed by peer: %v", byPeer) },
		End:      func(err error) { r.add(id, "end: %v", err) },
	}
}

// observedPair returns the two ends of a session over net.Pipe with a recorder
// each.
func observedPair(t *testing.T) (client, server *Session, atClient, atServer *recorder) {
	t.Helper()
	atClient, atServer = &recorder{events: map[uint32][]string{}}, &recorder{events: map[uint32][]string{}}
	a, b := net.Pipe()
	client = startOurs(t, a, Client, &Options{Observe: atClient.observe})
	server = startOurs(t, b, Server, &Options{Observe: atServer.observe})
	return client, server, atClient, atServer
}

func TestObserve(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do     func(t *testing.T, a, b *Stream)
		opener string
		other  string
	}{
		"close": {
			func(t *testing.T, a, b *Stream) {
				t.Helper()
				mustWrite(t, a, "x")
				mustRead(t, b, "x")
				mustWrite(t, b, "y")
				mustRead(t, a, "y")
				_ = a.CloseWrite()
				synctest.Wait()
				_ = b.Close()
			},
			"opened here: true, accepted, sent x, received y, closed by peer: false, closed by peer: true, end: <nil>",
			"opened here: false, accepted, received x, sent y, closed by peer: true, closed by peer: false, end: <nil>",
		},
		"reset": {
			func(_ *testing.T, a, _ *Stream) { _ = a.Reset() },
			"opened here: true, accepted, end: use of closed network connection",
			"opened here: false, accepted, end: connection reset",
		},
		"data after Close": {
			func(t *testing.T, a, b *Stream) {
				t.Helper()
				_ = a.Close()
				synctest.Wait()
				mustWrite(t, b, "x")
				_ = b.Close()
			},
			"opened here: true, accepted, closed by peer: false, received x, closed by peer: true, end: <nil>",
			"opened here: false, accepted, closed by peer: true, sent x, closed by peer: false, end: <nil>",
		},
		"session's end": {
			func(_ *testing.T, a, _ *Stream) { a.Session().CloseWithError(errors.New("failure")) },
			"opened here: true, accepted, end: failure",
			"opened here: false, accepted, end: EOF",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server, atClient, atServer := observedPair(t)
				a, b := streamPair(t, client, server)
				synctest.Wait()
				tt.do(t, a, b)
				synctest.Wait()
				_ = client.Close() // adds nothing
				_ = server.Close()
				for end, r := range map[string]*recorder{tt.opener: atClient, tt.other: atServer} {
					if got := strings.Join(r.get(1), ", "); got != end {
						t.Errorf("the events are\n%s, want\n%s", got, end)
					}
				}
			})
		})
	}
}

// End is also called for a stream that is never accepted.
func TestObserveRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server, atClient, atServer := observedPair(t)
		if _, err := client.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = server.Shutdown(t.Context())
		synctest.Wait()
		if got, want := strings.Join(atClient.get(1), ", "), "opened here: true, end: connection reset"; got != want {
			t.Errorf("the events are %s, want %s", got, want)
		}
		if got, want := strings.Join(atServer.get(1), ", "), "opened here: false, end: use of closed network connection"; got != want {
			t.Errorf("the events are %s, want %s", got, want)
		}
	})
}

// When both ends close at the same time, each observer sees both directions close
// before End.
func TestObserveRaces(t *testing.T) {
	t.Parallel()
	recorders := [2]*recorder{{events: map[uint32][]string{}}, {events: map[uint32][]string{}}}
	c, d := tcpPair(t)
	client := startOurs(t, c, Client, &Options{Observe: recorders[0].observe})
	server := startOurs(t, d, Server, &Options{Observe: recorders[1].observe})
	for range 300 {
		a, b := streamPair(t, client, server)
		var ends sync.WaitGroup
		for _, st := range []*Stream{a, b} {
			ends.Go(func() {
				_, _ = st.Write([]byte("x"))
				_ = st.CloseWrite()
			})
			ends.Go(func() { _, _ = io.Copy(io.Discard, st) })
		}
		ends.Wait()
		_ = a.Close()
		_ = b.Close()
		for _, r := range recorders {
			eventually(t, "the end of a stream", func() bool { return slices.Contains(r.get(a.ID()), "end: <nil>") })
			events := r.get(a.ID())
			slices.Sort(events[1 : len(events)-1])
			got := strings.Join(events[1:], ", ")
			if want := "accepted, closed by peer: false, closed by peer: true, received x, sent x, end: <nil>"; got != want {
				t.Fatalf("the events of stream %d are %s, want %s", a.ID(), got, want)
			}
		}
	}
}

// Nil functions and nil observers aren't called.
func TestObserveNil(t *testing.T) {
	t.Parallel()
	for _, o := range []*StreamObserver{nil, {}} {
		client, server := sessionPair(t, &Options{Observe: func(uint32, bool) *StreamObserver { return o }})
		a, b := streamPair(t, client, server)
		mustWrite(t, a, "x")
		mustRead(t, b, "x")
		_ = a.Close()
		_ = b.Close()
		eventually(t, "the end of the stream", func() bool { return client.Stats().Streams == 0 })
	}
}
