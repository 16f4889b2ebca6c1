package mux

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestChunkClass(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{1: 0, 512: 0, 513: 1, 1024: 1, 1025: 2, maxChunk/2 + 1: 9, maxChunk: 9} {
		if got := chunkClass(size); got != want {
			t.Errorf("chunkClass(%d) = %d, want %d", size, got, want)
		}
		c := newChunk(size)
		if len(c.data) < size || chunkClass(len(c.data)) != want {
			t.Errorf("newChunk(%d) has %d bytes", size, len(c.data))
		}
		c.free()
	}
}

// newRecvBuffer returns the buffer of a session's stream.
func newRecvBuffer() *recvBuffer {
	return &recvBuffer{session: &Session{opts: Options{Unread: NewUnreadLimit(defaultUnread)}}}
}

// allocated returns how much memory b uses.
func allocated(b *recvBuffer) (size int) {
	for c := b.head; c != nil; c = c.next {
		size += len(c.data)
	}
	return size
}

// A buffer returns the bytes that were pushed, in order, and is empty after the last.
func TestRecvBuffer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := newRecvBuffer()
		var want bytes.Buffer
		for step := range 500 {
			if rng.IntN(2) == 0 {
				push(b, &want, rng)
			} else {
				p := make([]byte, rng.IntN(1<<rng.IntN(19)+1))
				n, m := b.read(p), 0
				q := make([]byte, len(p))
				if want.Len() > 0 {
					m, _ = want.Read(q)
				}
				if n != m || !bytes.Equal(p[:n], q[:m]) {
					t.Fatalf("seed %d, step %d: read = %d bytes, want %d, or they differ", seed, step, n, m)
				}
			}
			if b.size != want.Len() || (b.size == 0) != (b.head == nil) || (b.head == nil) != (b.tail == nil) {
				t.Fatalf("seed %d, step %d: the size is %d, want %d; head %p, tail %p", seed, step, b.size, want.Len(), b.head, b.tail)
			}
		}
		checkRest(t, b, want.Bytes())
	}
}

// push appends a chunk of random bytes to both buffers.
func push(b *recvBuffer, want *bytes.Buffer, rng *rand.Rand) {
	c := newChunk(1 + rng.IntN(1<<rng.IntN(19)))
	c.w = 1 + rng.IntN(min(len(c.data), 1<<rng.IntN(19)))
	c.r = rng.IntN(c.w)
	fill(c.data[:c.w], rng.Uint64(), 0)
	want.Write(c.data[c.r:c.w])
	if !b.push(c) {
		clear(c.data) // b mustn't use it any more
		c.free()
	}
}

// checkRest compares the bytes that take returns with want.
func checkRest(t *testing.T, b *recvBuffer, want []byte) {
	t.Helper()
	c := b.take()
	if b.size != 0 || b.head != nil || b.tail != nil {
		t.Errorf("the buffer has %d bytes after take, want 0", b.size)
	}
	var got []byte
	for ; c != nil; c = c.freeFirst() {
		got = append(got, c.data[c.r:c.w]...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("take = %d bytes, want %d, or they differ", len(got), len(want))
	}
}

// A buffer uses at most three times the memory of its bytes, pushed in chunks of any
// size, and none while it is empty.
func TestRecvBufferMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 100, 511, 512, 513, 4095, 4096, 4097, 100_000} {
		b := newRecvBuffer()
		c := newChunk(maxChunk)
		for b.size < initialWindow {
			c.w = size
			if b.push(c) {
				c = newChunk(maxChunk)
			}
		}
		c.free()
		if got, limit := allocated(b), 3*b.size; got > limit {
			t.Errorf("%d bytes of memory for %d bytes in chunks of %d, want at most %d", got, b.size, size, limit)
		}
		b.read(make([]byte, b.size))
		if got := allocated(b); got != 0 {
			t.Errorf("an empty buffer uses %d bytes, want 0", got)
		}
	}
}

// A stream's buffer uses no memory once the stream is closed, reset or read.
func TestStreamFreesItsBuffer(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(a, b *Stream){
		"Close":        func(_, b *Stream) { _ = b.Close() },
		"Reset":        func(_, b *Stream) { _ = b.Reset() },
		"peer's Reset": func(a, _ *Stream) { _ = a.Reset() },
		"Read":         func(_, b *Stream) { _, _ = b.Read(make([]byte, 5)) },
	} {
		client, server := sessionPair(t, nil)
		a, b := streamPair(t, client, server)
		mustWrite(t, a, "bytes")
		eventually(t, "the bytes to arrive", func() bool { return b.Stats().BytesReceived == 5 })
		end(a, b)
		eventually(t, name+" to empty the buffer", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.recv.head == nil && b.recv.memory == 0
		})
	}
}
