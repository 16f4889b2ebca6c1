package mux

import (
	"math/bits"
	"sync"
)

const (
	minChunkBits = 9
	minChunk     = 1 << minChunkBits
	maxChunk     = 256 * 1024

	// chunkHeader is the memory of a chunk besides its data, in bytes.
	chunkHeader = 64

	// copyBelow is the size in bytes below which push copies to the end of the
	// last chunk even if the bytes fill their own chunk well.
	copyBelow = 4096
)

// chunk is a pooled buffer whose size is a power of two.
type chunk struct {
	next *chunk
	data []byte
	r, w int // data[r:w] is unread

	buffer *recvBuffer // counts the chunk's memory; nil: none does
}

var chunkPools [10]sync.Pool // chunks of 512 bytes, 1 KiB, … 256 KiB

// chunkClass returns the index of the pool with the smallest chunks that hold size
// bytes.
func chunkClass(size int) int {
	return max(bits.Len(uint(size-1))-minChunkBits, 0)
}

// newChunk returns an empty chunk with room for size bytes, at most maxChunk.
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

// freeFirst returns only c to its pool. It returns the next chunk, or nil.
func (c *chunk) freeFirst() *chunk {
	if c.buffer != nil {
		c.buffer.count(-len(c.data) - chunkHeader)
		c.buffer = nil
	}
	next := c.next
	c.next, c.r, c.w = nil, 0, 0
	chunkPools[chunkClass(len(c.data))].Put(c)
	return next
}

// recvBuffer is a FIFO of unread bytes. It uses no memory while it is empty.
type recvBuffer struct {
	head, tail *chunk
	size       int // of the unread bytes

	memory    int      // of the chunks, also of those that take returned, until they are freed
	session   *Session // counts it, too
	forgotten bool     // memory doesn't count any more
}

// count changes the memory by n bytes.
func (b *recvBuffer) count(n int) {
	if !b.forgotten {
		b.memory += n
		b.session.countUnread(n)
	}
}

// forget makes memory 0 for good.
func (b *recvBuffer) forget() {
	b.count(-b.memory)
	b.forgotten = true
}

// push appends the unread bytes of c. It either keeps c itself, or copies the bytes
// and returns false.
func (b *recvBuffer) push(c *chunk) (kept bool) {
	p := c.data[c.r:c.w]
	b.size += len(p)
	fits := chunkClass(len(p)) == chunkClass(len(c.data))
	if b.tail != nil && len(p) <= len(b.tail.data)-b.tail.w && (!fits || len(p) < copyBelow) {
		b.tail.w += copy(b.tail.data[b.tail.w:], p)
		return false
	}
	if !fits { // a smaller chunk is enough
		c = newChunk(len(p))
		c.w = copy(c.data, p)
	}
	c.buffer = b
	b.count(len(c.data) + chunkHeader)
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

// take empties the buffer and returns the first of its chunks, or nil.
func (b *recvBuffer) take() *chunk {
	head := b.head
	b.head, b.tail, b.size = nil, nil, 0
	return head
}
