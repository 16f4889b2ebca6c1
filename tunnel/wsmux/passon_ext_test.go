package wsmux_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// sink is a writer that takes some bytes without waiting, and the rest when it is
// let.
type sink struct {
	t     *testing.T
	got   bytes.Buffer
	takes int // of what TryWrite is given: all, half, nothing, and so on
	let   chan struct{}
	busy  atomic.Bool
	tried atomic.Int64 // bytes
	wrote atomic.Int64
	fail  error
}

func (s *sink) enter() func() {
	if s.busy.Swap(true) {
		s.t.Error("Write and TryWrite at the same time")
	}
	return func() { s.busy.Store(false) }
}

func (s *sink) Write(p []byte) (int, error) {
	defer s.enter()()
	if s.let != nil {
		<-s.let
	}
	s.wrote.Add(int64(len(p)))
	n, _ := s.got.Write(p)
	return n, s.fail
}

func (s *sink) TryWrite(p []byte) (int, error) {
	defer s.enter()()
	n := []int{len(p), len(p) / 2, 0}[s.takes%3]
	s.takes++
	s.tried.Add(int64(n))
	s.got.Write(p[:n])
	return n, s.fail
}

func TestPassOn(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	a, b := connect(t, client, server)
	data := make([]byte, 3<<20) // several windows
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
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
	s := &sink{t: t}
	if err := passOn(b, s); err != nil || !bytes.Equal(s.got.Bytes(), data) {
		t.Errorf("PassOn ended with %v after %d bytes, want %d", err, s.got.Len(), len(data))
	}
	if s.tried.Load() == 0 || s.wrote.Load() == 0 {
		t.Errorf("%d bytes were written without waiting, %d with, want some of both", s.tried.Load(), s.wrote.Load())
	}
}

// passOn passes on what comes on s, to its end.
func passOn(s *wsmux.Stream, w wsmux.TryWriter) error {
	ended := make(chan error)
	s.PassOn(w, func(err error) { ended <- err })
	return <-ended
}

// A writer that waits holds up its own stream only.
func TestPassOnHoldsUpItsStreamOnly(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	a, b := connect(t, client, server)
	stuck := &sink{t: t, takes: 2, let: make(chan struct{})}
	done := make(chan error, 1)
	b.PassOn(stuck, func(err error) { done <- err })
	mustWrite(t, a, strings.Repeat("x", 200<<10))
	c, d := connect(t, client, server)
	mustWrite(t, c, "passes")
	mustRead(t, d, "passes")
	_ = a.CloseWrite()
	close(stuck.let)
	if err := <-done; err != nil || stuck.got.Len() != 200<<10 {
		t.Errorf("PassOn ended with %v after %d bytes", err, stuck.got.Len())
	}
}

// PassOn ends with the writer's error, or with what ends a Read.
func TestPassOnEnds(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	for name, tt := range map[string]struct {
		sink *sink
		do   func(a, b *wsmux.Stream)
		want func(error) bool
	}{
		"Write fails":    {&sink{takes: 2, fail: failure}, func(a, _ *wsmux.Stream) { _, _ = a.Write([]byte("x")) }, is(failure)},
		"TryWrite fails": {&sink{fail: failure}, func(a, _ *wsmux.Stream) { _, _ = a.Write([]byte("x")) }, is(failure)},
		"deadline":       {&sink{}, func(_, b *wsmux.Stream) { _ = b.SetReadDeadline(time.Unix(1, 0)) }, is(os.ErrDeadlineExceeded)},
		"Close":          {&sink{}, func(_, b *wsmux.Stream) { _ = b.Close() }, is(net.ErrClosed)},
		"peer's Reset":   {&sink{}, func(a, _ *wsmux.Stream) { _ = a.Reset() }, says("reset")},
		"session's end":  {&sink{}, func(_, b *wsmux.Stream) { b.Session().CloseWithError(failure) }, is(failure)},
		"peer's end":     {&sink{}, func(a, _ *wsmux.Stream) { _ = a.Close() }, func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := sessions(t)
			a, b := connect(t, client, server)
			tt.sink.t = t
			done := make(chan error, 1)
			b.PassOn(tt.sink, func(err error) { done <- err })
			tt.do(a, b)
			if err := <-done; !tt.want(err) {
				t.Errorf("PassOn ended with %v", err)
			}
		})
	}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func says(text string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
}

// A peer that waits for this end to read hears of a reset, and yamux forgets the
// stream at both ends.
func TestStreamReset(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	a, b := connect(t, client, server)
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(a, zeros{})
		written <- err
	}()
	mustRead(t, b, string(make([]byte, 1000)))
	if err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; !says("reset")(err) {
		t.Errorf("the peer's Write = %v, want a reset", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Reset = %v, want net.ErrClosed", err)
	}
	_ = a.Close()
	c, d := connect(t, client, server) // whose frames come behind
	mustWrite(t, c, "x")
	mustRead(t, d, "x")
	mustWrite(t, d, "y")
	mustRead(t, c, "y")
	if n, m := client.Yamux().NumStreams(), server.Yamux().NumStreams(); n != 1 || m != 1 {
		t.Errorf("yamux knows of %d and %d streams, want 1", n, m)
	}
}

// A peer that sends more than it may is cut, before that takes memory.
func TestPeerExceedsTheWindow(t *testing.T) {
	t.Parallel()
	for _, fixed := range []uint32{0, 1 << 20} {
		client, server := sessionsWith(t, &wsmux.Options{Window: fixed})
		connect(t, client, server) // stream 1
		length := max(256<<10, fixed) + 1
		frame := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 0, 0, 0, 1}, length)
		if err := client.Inject(append(frame, make([]byte, length)...)); err != nil {
			t.Fatal(err)
		}
		waitDone(t, server)
		if err := server.Err(); !says("window exceeded")(err) {
			t.Errorf("Err() = %v, want that the window was exceeded", err)
		}
	}
}
