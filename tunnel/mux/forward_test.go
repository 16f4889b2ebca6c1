package mux

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a TryWriter that accepts some bytes in TryWrite and the rest in Write.
type sink struct {
	t       *testing.T
	got     bytes.Buffer
	tries   int           // TryWrite accepts in turn all bytes, half of them, and none
	unblock chan struct{} // Write blocks until it is closed; nil: it doesn't block
	busy    atomic.Bool
	tried   atomic.Int64 // bytes that TryWrite accepted
	wrote   atomic.Int64 // bytes that Write accepted
	err     error        // returned by both
}

func (s *sink) enter() (leave func()) {
	if s.busy.Swap(true) {
		s.t.Error("Write and TryWrite at the same time")
	}
	return func() { s.busy.Store(false) }
}

func (s *sink) Write(p []byte) (int, error) {
	defer s.enter()()
	if s.unblock != nil {
		<-s.unblock
	}
	s.wrote.Add(int64(len(p)))
	n, _ := s.got.Write(p)
	return n, s.err
}

func (s *sink) TryWrite(p []byte) (int, error) {
	defer s.enter()()
	n := []int{len(p), len(p) / 2, 0}[s.tries%3]
	s.tries++
	s.tried.Add(int64(n))
	s.got.Write(p[:n])
	return n, s.err
}

// forward forwards st to w and returns the error at the end.
func forward(st *Stream, w TryWriter) error {
	ended := make(chan error)
	st.ForwardTo(w, func(err error) { ended <- err })
	return <-ended
}

func TestForward(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, b := streamPair(t, client, server)
	data := make([]byte, 3<<20) // several windows
	fill(data, 1, 0)
	s, ended := &sink{t: t}, make(chan error)
	b.ForwardTo(s, func(err error) { ended <- err }) // before bytes arrive, so that they are tried
	go func() {
		for rest, size := data, 1; len(rest) > 0; size = size*7%100_003 + 1 {
			n := min(size, len(rest))
			if _, err := a.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		_ = a.CloseWrite()
	}()
	if err := <-ended; err != nil || !bytes.Equal(s.got.Bytes(), data) {
		t.Errorf("ForwardTo ends with %v after %d bytes, want nil after %d", err, s.got.Len(), len(data))
	}
	if s.tried.Load() == 0 || s.wrote.Load() == 0 {
		t.Errorf("TryWrite accepted %d bytes, Write %d, want some of both", s.tried.Load(), s.wrote.Load())
	}
}

// discard is a TryWriter that counts bytes and never blocks.
type discard struct{ n int }

func (w *discard) Write(p []byte) (int, error) { return w.TryWrite(p) }

func (w *discard) TryWrite(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}

// Bytes that are forwarded without blocking enlarge the peer's window.
func TestForwardUpdates(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, b := streamPair(t, client, server)
	_ = a.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		mustWrite(t, a, strings.Repeat("x", 10*initialWindow))
		_ = a.Close()
	}()
	var w discard
	if err := forward(b, &w); err != nil || w.n != 10*initialWindow {
		t.Errorf("ForwardTo ends with %v after %d bytes, want nil after %d", err, w.n, 10*initialWindow)
	}
}

// Bytes that have arrived before ForwardTo are forwarded as well.
func TestForwardBuffered(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, b := streamPair(t, client, server)
	mustWrite(t, a, strings.Repeat("x", initialWindow))
	_ = a.Close()
	eventually(t, "the bytes to arrive", func() bool { return b.Stats().BytesReceived == initialWindow })
	s := &sink{t: t}
	if err := forward(b, s); err != nil || s.got.Len() != initialWindow {
		t.Errorf("ForwardTo ends with %v after %d bytes, want nil after %d", err, s.got.Len(), initialWindow)
	}
}

// A writer that blocks stops only its own stream, which buffers one window.
func TestForwardBlocksOneStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, &Options{Window: initialWindow})
		a, b := streamPair(t, client, server)
		stuck := &sink{t: t, tries: 2, unblock: make(chan struct{})}
		done := make(chan error, 1)
		b.ForwardTo(stuck, func(err error) { done <- err })
		go func() {
			mustWrite(t, a, strings.Repeat("x", 2*initialWindow))
			_ = a.CloseWrite()
		}()
		synctest.Wait()
		if n := b.Stats().BytesReceived; n != initialWindow {
			t.Errorf("%d bytes are received, want a window of %d", n, initialWindow)
		}
		c, d := streamPair(t, client, server)
		mustWrite(t, c, "passes")
		mustRead(t, d, "passes")
		close(stuck.unblock)
		if err := <-done; err != nil || stuck.got.Len() != 2*initialWindow {
			t.Errorf("ForwardTo ends with %v after %d bytes, want nil after %d", err, stuck.got.Len(), 2*initialWindow)
		}
	})
}

// ForwardTo ends with the writer's error, or with the error that Read would return.
func TestForwardEnds(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	write := func(a, _ *Stream) { _, _ = a.Write([]byte("x")) }
	for name, tt := range map[string]struct {
		sink *sink
		do   func(a, b *Stream)
		want error
	}{
		"Write fails":    {&sink{tries: 2, err: failure}, write, failure},
		"TryWrite fails": {&sink{err: failure}, write, failure},
		"deadline":       {&sink{}, func(_, b *Stream) { _ = b.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"later deadline": {&sink{}, func(_, b *Stream) { _ = b.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		"Close":          {&sink{}, func(_, b *Stream) { _ = b.Close() }, net.ErrClosed},
		"peer's Reset":   {&sink{}, func(a, _ *Stream) { _ = a.Reset() }, ErrReset},
		"session's end":  {&sink{}, func(_, b *Stream) { b.Session().CloseWithError(failure) }, failure},
		"peer's session": {&sink{}, func(a, _ *Stream) {
			_, _ = a.Session().Ping(t.Context()) // unread bytes would make TCP reset the connection
			_ = a.Session().Close()
		}, nil},
		"peer's end": {&sink{}, func(a, _ *Stream) { _ = a.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := sessionPair(t, nil)
			a, b := streamPair(t, client, server)
			tt.sink.t = t
			done := make(chan error, 1)
			b.ForwardTo(tt.sink, func(err error) { done <- err })
			tt.do(a, b)
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("ForwardTo ends with %v, want %v", err, tt.want)
			}
		})
	}
}

// stuckWriter is an Aborter that blocks until Abort.
type stuckWriter struct {
	writing, aborted chan struct{}
}

func (w *stuckWriter) TryWrite([]byte) (int, error) { return 0, nil }

func (w *stuckWriter) Write([]byte) (int, error) {
	close(w.writing)
	<-w.aborted
	return 0, errors.New("aborted")
}

func (w *stuckWriter) Abort() { close(w.aborted) }

// A writer that blocks is aborted when the stream is reset or the session ends, even if
// the peer has closed its direction.
func TestForwardAborts(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	for name, tt := range map[string]struct {
		do   func(a, b *Stream)
		want error
	}{
		"peer's Reset":  {func(a, _ *Stream) { _ = a.Reset() }, ErrReset},
		"session's end": {func(_, b *Stream) { b.Session().CloseWithError(failure) }, failure},
		"FIN, session's end": {func(a, b *Stream) {
			_ = a.Close()
			synctest.Wait()
			b.Session().CloseWithError(failure)
		}, nil},
		"bytes, session's end": {func(a, b *Stream) {
			mustWrite(t, a, "more")
			synctest.Wait()
			b.Session().CloseWithError(failure)
		}, failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := pipePair(t, nil)
				a, b := streamPair(t, client, server)
				w := &stuckWriter{writing: make(chan struct{}), aborted: make(chan struct{})}
				done := make(chan error, 1)
				b.ForwardTo(w, func(err error) { done <- err })
				mustWrite(t, a, "stuck")
				<-w.writing
				tt.do(a, b)
				if err := <-done; !errors.Is(err, tt.want) {
					t.Errorf("ForwardTo ends with %v, want %v", err, tt.want)
				}
			})
		})
	}
}

// closer is a writer that closes its stream while it writes.
type closer struct{ s *Stream }

func (c closer) TryWrite(p []byte) (int, error) { return c.Write(p) }

func (c closer) Write(p []byte) (int, error) {
	_ = c.s.Close()
	return len(p), nil
}

// The window of a stream that its writer closes doesn't grow afterwards.
func TestForwardClosesItsStream(t *testing.T) {
	t.Parallel()
	for _, buffered := range []bool{false, true} {
		client, server := sessionPair(t, nil)
		a, b := streamPair(t, client, server)
		done := make(chan error, 1)
		start := func() { b.ForwardTo(closer{b}, func(err error) { done <- err }) }
		if !buffered {
			start()
		}
		mustWrite(t, a, strings.Repeat("x", 200<<10))
		if buffered {
			eventually(t, "the bytes to arrive", func() bool { return b.Stats().BytesReceived == 200<<10 })
			start()
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ForwardTo ends with %v, want net.ErrClosed", err)
		}
		if n := server.budget.growth.Load(); n != 0 {
			t.Errorf("windows have grown by %d bytes, want 0 with no stream open", n)
		}
	}
}

// A pending Read or ForwardTo returns bytes and a FIN that arrive just as the
// deadline passes.
func TestBytesArriveAtDeadline(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(*Stream) (string, error){
		"Read": func(b *Stream) (string, error) {
			p := make([]byte, 10)
			n, err := b.Read(p)
			return string(p[:n]), err
		},
		"ForwardTo": func(b *Stream) (string, error) {
			w := &sink{tries: 2}
			err := forward(b, w)
			return w.got.String(), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := pipePair(t, nil)
				_, b := streamPair(t, client, server)
				go func() {
					synctest.Wait() // until it waits
					b.mu.Lock()
					defer b.mu.Unlock()
					c := newChunk(4)
					c.w = copy(c.data, "last")
					b.recv.push(c)
					b.readDeadline.at = time.Unix(1, 0)
					b.finReceived = true
					b.wake()
				}()
				if got, err := wait(b); got != "last" || err != nil {
					t.Errorf("%s = %q, %v, want the last bytes", name, got, err)
				}
			})
		})
	}
}
