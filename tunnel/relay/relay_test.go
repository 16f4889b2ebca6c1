package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A stream of an engineer reaches the Worker, and both directions end separately. There is
// a Record of the stream and of both sessions.
func TestBridge(t *testing.T) {
	t.Parallel()
	var recs records
	r, st := newRelay(t, Options{ID: "r1", Observe: recs.observe})
	st.worker(t, r, "w-1", instanceA, "tag:")
	e := st.mustDial(t, Dial, "w-1", "")
	stream, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	tunneltest.Expect(t, stream, "tag:")
	await(t, "the stream in Snapshot", func() bool {
		for _, s := range r.Snapshot().Sessions {
			if s.Role == Dial && len(s.Streams) == 1 {
				return s.Streams[0].Stream == 1 && s.Streams[0].Worker == 1 && s.Name == "w-1"
			}
		}
		return false
	})
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // more than the windows
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = stream.Write(data)
		_ = stream.CloseWrite()
	})
	got, err := io.ReadAll(stream)
	wg.Wait()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the echo has %d bytes, %v, want the %d sent", len(got), err, len(data))
	}
	await(t, "the record of the stream", func() bool { return len(recs.of("stream", Dial)) == 1 })
	rec := recs.of("stream", Dial)[0]
	if rec.Name != "w-1" || rec.Up != int64(len(data)) || rec.Down != int64(len(data)+4) || rec.Reason != "" || rec.Session != 2 || rec.Worker != 1 {
		t.Errorf("the record of the stream is %+v", rec)
	}
	_ = e.Close()
	r.Close()
	for _, role := range []Role{Serve, Dial} {
		all := recs.of("session", role)
		if len(all) != 1 || all[0].Up != int64(len(data)) || all[0].Down != int64(len(data)+4) || all[0].Reason == "" {
			t.Errorf("the records of the sessions with %s are %+v", role, all)
		}
	}
}

// A reset reaches the other end, in both directions, and so does the loss of a session.
func TestBridgeReset(t *testing.T) {
	t.Parallel()
	var recs records
	r, st := newRelay(t, Options{Observe: recs.observe})
	w := st.mustDial(t, Serve, "w", "")
	await(t, "the worker", func() bool { return r.knows("w") })
	e := st.mustDial(t, Dial, "w", "")
	for _, byWorker := range []bool{true, false} {
		near, err := e.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		far, err := w.Accept()
		if err != nil {
			t.Fatal(err)
		}
		tunneltest.Write(t, near, "x")
		tunneltest.Expect(t, far, "x")
		one, other := near, far
		if byWorker {
			one, other = far, near
		}
		_ = one.Reset()
		if _, err := other.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
			t.Errorf("Read after the other end's Reset = %v, want %v", err, mux.ErrReset)
		}
	}
	await(t, "the records", func() bool { return len(recs.of("stream", Dial)) == 2 })
	for _, rec := range recs.of("stream", Dial) {
		if rec.Reason != "reset" {
			t.Errorf("the reason is %q, want reset", rec.Reason)
		}
	}
	near, _ := e.Open(t.Context())
	far, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = e.Close()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("Read after the end of the engineer's session = nil error")
	}
	_ = near.Close()
}

// A Worker that doesn't read stops the engineer, and the relay holds no more than a window
// or two.
func TestBridgeBackPressure(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{})
	w := st.mustDial(t, Serve, "w", "")
	await(t, "the worker", func() bool { return r.knows("w") })
	e := st.mustDial(t, Dial, "w", "")
	near, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = near.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	sent := 0
	for err := error(nil); err == nil; {
		var n int
		n, err = near.Write(make([]byte, 64<<10))
		sent += n
	}
	if sent > 4<<20 {
		t.Errorf("%d bytes were sent to a worker that reads nothing", sent)
	}
	_ = near.CloseWrite()
	if n, err := io.Copy(io.Discard, far); err != nil || n != int64(sent) {
		t.Errorf("the worker then received %d bytes, %v, want %d", n, err, sent)
	}
}

// A hundred engineers share the session of one Worker.
func TestManyEngineers(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{})
	st.worker(t, r, "w", instanceA, "")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			e, err := st.dial(t, Dial, "w", "")
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				if err := call(t.Context(), e, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(r, Serve); n != 1 {
		t.Errorf("%d sessions of workers, want 1", n)
	}
}

// When the Worker's connection breaks, its engineers' sessions end with 4404.
func TestWorkerGone(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1})
	front := tunneltest.NewRelay(t, strings.TrimPrefix(st.url, "ws://"))
	broken := &site{url: "ws://" + front.Addr()}
	broken.worker(t, r, "w", instanceA, "")
	e := st.mustDial(t, Dial, "w", "")
	if err := call(t.Context(), e, ""); err != nil {
		t.Fatal(err)
	}
	front.Cut()
	awaitCode(t, e, CloseGone)
	_, err := st.dial(t, Dial, "w", "")
	wantRefusal(t, err, http.StatusNotFound, "w isn't connected")
}

// A new instance takes over the name: the old one's session ends with 4409, and the
// sessions of its engineers with 4404.
func TestTakeoverByAnotherInstance(t *testing.T) {
	t.Parallel()
	for _, instance := range []string{instanceA, ""} {
		r, st := newRelay(t, Options{})
		old := st.worker(t, r, "w", instance, "old:")
		e := st.mustDial(t, Dial, "w", "")
		if err := call(t.Context(), e, "old:"); err != nil {
			t.Fatal(err)
		}
		st.worker(t, r, "w", instanceB, "new:")
		awaitCode(t, old, CloseReplaced)
		awaitCode(t, e, CloseGone)
		if err := call(t.Context(), st.mustDial(t, Dial, "w", ""), "new:"); err != nil {
			t.Error(err)
		}
	}
}

// With KeepFirst, another instance is refused, and the same one isn't.
func TestKeepFirst(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{KeepFirst: true})
	old := st.worker(t, r, "w", instanceA, "")
	_, err := st.dial(t, Serve, "w", instanceB)
	wantRefusal(t, err, http.StatusConflict, "another instance has this name")
	st.worker(t, r, "w", instanceA, "")
	if old.Err() != nil {
		t.Errorf("the old session ended: %v", old.Err())
	}
}

// The same instance replaces its own session: engineers stay, new streams are on the new
// session, and those on the old one go on. An old session that is dead is ended.
func TestTakeoverBySameInstance(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{})
	front := tunneltest.NewRelay(t, strings.TrimPrefix(st.url, "ws://"))
	st.worker(t, r, "w", instanceA, "first:")
	e := st.mustDial(t, Dial, "w", "")
	first, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	tunneltest.Expect(t, first, "first:")

	st.worker(t, r, "w", instanceA, "second:")
	if err := call(t.Context(), e, "second:"); err != nil {
		t.Error(err)
	}
	if err := exchange(first, ""); err != nil {
		t.Errorf("a stream on the old session: %v", err)
	}

	frozen := &site{url: "ws://" + front.Addr()}
	frozen.worker(t, r, "w", instanceA, "third:")
	front.Freeze()
	st.worker(t, r, "w", instanceA, "fourth:")
	if err := call(t.Context(), e, "fourth:"); err != nil {
		t.Error(err)
	}
	await(t, "the end of the frozen session", func() bool { return count(r, Serve) == 3 })
	if e.Err() != nil {
		t.Errorf("the engineer's session ended: %v", e.Err())
	}
}

// A Worker that shuts down gets no new streams: its engineers are told to dial again, and
// open streams go on.
func TestWorkerGoingAway(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1})
	w := st.worker(t, r, "w", instanceA, "")
	e := st.mustDial(t, Dial, "w", "")
	stream, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tunneltest.Write(t, stream, "x")
	tunneltest.Expect(t, stream, "x")
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(tunneltest.Soon(t)) }()
	tunneltest.Await(t, "GoAway at the engineer", e.PeerGoingAway())
	_, err = st.dial(t, Dial, "w", "")
	wantRefusal(t, err, http.StatusNotFound, "w isn't connected")
	if err := exchange(stream, ""); err != nil {
		t.Error(err)
	}
	if err := tunneltest.Await(t, "Shutdown", done); err != nil {
		t.Error(err)
	}
	awaitCode(t, e, CloseGone)
}

// An engineer that reads slowly receives all that a Worker has sent before it ended in
// order.
func TestLastBytes(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1})
	w := st.mustDial(t, Serve, "w", "")
	await(t, "the worker", func() bool { return r.knows("w") })
	e := st.mustDial(t, Dial, "w", "")
	near, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	const size = 400 << 10 // more than the engineer's window, and less than both windows
	if _, err := far.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if err := w.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Fatal(err)
	}
	tunneltest.Await(t, "GoAway", e.PeerGoingAway())
	await(t, "the worker's departure", func() bool { return count(r, Serve) == 0 })
	if _, err := near.Write([]byte("x")); err != nil { // to a stream that has ended
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, near); err != nil || n != size {
		t.Errorf("the engineer received %d bytes, %v, want %d", n, err, size)
	}
	_ = near.Close()
	awaitCode(t, e, CloseGone)
}

// An engineer can't have more streams than MaxStreams.
func TestMaxStreams(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{MaxStreams: 1})
	st.worker(t, r, "w", "", "tag")
	e := st.mustDial(t, Dial, "w", "")
	first, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tunneltest.Expect(t, first, "tag")
	if err := call(t.Context(), e, "tag"); !errors.Is(err, mux.ErrReset) {
		t.Errorf("a second stream: %v, want %v", err, mux.ErrReset)
	}
	if err := exchange(first, ""); err != nil {
		t.Error(err)
	}
	await(t, "the end of the first stream", func() bool { return call(t.Context(), e, "tag") == nil })
}

// A Worker that opens streams gets a reset for each, and goes on serving.
func TestHostileWorker(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{})
	w := st.worker(t, r, "w", "", "")
	for range 1000 {
		stream, err := w.Open(tunneltest.Soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
			t.Fatalf("Read = %v, want %v", err, mux.ErrReset)
		}
		_ = stream.Close()
	}
	if err := call(t.Context(), st.mustDial(t, Dial, "w", ""), ""); err != nil {
		t.Error(err)
	}
	for _, s := range r.Snapshot().Sessions {
		if s.Role == Serve && s.Refused != 1000 {
			t.Errorf("%d streams refused, want 1000", s.Refused)
		}
	}
}

// Sessions come and go in any order, and nothing is left.
func TestArrivals(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: time.Second})
	var wg sync.WaitGroup
	for i := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for range 20 {
				name, instance := fmt.Sprintf("w-%d", random.IntN(3)), []string{instanceA, instanceB, ""}[random.IntN(3)]
				role := []Role{Serve, Dial}[i%2]
				if role == Dial {
					instance = ""
				}
				s, err := st.dial(t, role, name, instance)
				switch {
				case err != nil:
				case role == Serve:
					go echo(s, "")
					<-time.After(time.Duration(random.IntN(10)) * time.Millisecond)
					_ = s.Close()
				default:
					_ = call(t.Context(), s, "")
					_ = s.Close()
				}
			}
		})
	}
	wg.Wait()
	await(t, "the end of all sessions", func() bool { return len(r.Snapshot().Sessions) == 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.names)+len(r.arrivals) > 0 {
		t.Errorf("%d names and %d arrivals left", len(r.names), len(r.arrivals))
	}
}
