package mux

import (
	"math/bits"
	"sync"
)

const (
	minChunkBits = 9
	minChunk     = 1 << minChunkBits
	maxChunk     = 256 * 1024

	// smallPiece is the size below which bytes are copied to the end of the
	// last chunk although they would fill a chunk of their own well.
	smallPiece = 4096
)

// chunk is a pooled buffer whose size is a power of two.
type chunk struct {
	next *chunk
	data []byte
	r, w int // data[r:w] is unread
}

var chunkPools [10]sync.Pool // of 512 bytes to 256 KiB

// chunkClass is the index of the pool with the smallest chunks for size bytes.
func chunkClass(size int) int {
	return max(bits.Len(uint(size-1))-minChunkBits, 0)
}

// newChunk returns an empty chunk for size bytes, at most maxChunk.
func newChunk(size int) *chunk {
	class := chunkClass(size)
	if c, ok := chunkPools[class].Get().(*chunk); ok {
		return c
	}
	return &chunk{data: make([]byte, minChunk<<class)}
}

// free returns c and the chunks after it to their pools. c may be nil.
func (c *chunk) free() {
	for c != nil {
		c = c.freeFirst()
	}
}

// freeFirst returns c alone to its pool, and the chunk after it to the caller.
func (c *chunk) freeFirst() *chunk {
	next := c.next
	c.next, c.r, c.w = nil, 0, 0
	chunkPools[chunkClass(len(c.data))].Put(c)
	return next
}

// recvBuffer holds the bytes that have arrived and haven't been read. It holds
// no memory while it is empty.
type recvBuffer struct {
	head, tail *chunk
	size       int
}

// push appends the unread bytes of c. It returns true if it keeps c itself;
// otherwise it has copied them.
func (b *recvBuffer) push(c *chunk) (kept bool) {
	p := c.data[c.r:c.w]
	b.size += len(p)
	fits := chunkClass(len(p)) == chunkClass(len(c.data))
	if b.tail != nil && len(p) <= len(b.tail.data)-b.tail.w && (!fits || len(p) < smallPiece) {
		b.tail.w += copy(b.tail.data[b.tail.w:], p)
		return false
	}
	if !fits { // c is much larger than what it holds
		c = newChunk(len(p))
		c.w = copy(c.data, p)
	}
	if b.tail == nil {
		b.head = c
	} else {
		b.tail.next = c
	}
	b.tail = c
	return fits
}

func (b *recvBuffer) read(p []byte) (n int) {
	for n < len(p) && b.head != nil {
		c := b.head
		k := copy(p[n:], c.data[c.r:c.w])
		n += k
		if c.r += k; c.r < c.w {
			break
		}
		if b.head = c.freeFirst(); b.head == nil {
			b.tail = nil
		}
	}
	b.size -= n
	return n
}

// take removes all chunks and returns the first.
func (b *recvBuffer) take() *chunk {
	head := b.head
	*b = recvBuffer{}
	return head
}
