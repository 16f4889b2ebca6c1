package limit

import "google.golang.org/grpc/mem"

// fullFrame is the largest payload of a frame, in bytes.
const fullFrame = 16 << 10

// bufferPool has buffers for received frames that are hardly larger than these. Those of
// grpc-go's own pool have up to four times the size.
type bufferPool struct{}

// isFull reports whether a buffer for size bytes is one for a full frame.
func isFull(size int) bool { return size > fullFrame*3/4 && size <= fullFrame }

// Get implements mem.BufferPool.
func (bufferPool) Get(size int) *[]byte {
	if isFull(size) || size > fullFrame {
		return mem.DefaultBufferPool().Get(size)
	}
	b := make([]byte, size)
	return &b
}

// Put implements mem.BufferPool.
func (bufferPool) Put(b *[]byte) {
	if cap(*b) >= fullFrame {
		mem.DefaultBufferPool().Put(b)
	}
}

// frameMemory returns the memory that grpc-go takes for a received DATA frame with n
// bytes: a buffer, and an element of a queue.
func frameMemory(n int64) int64 {
	const element = 128
	switch {
	case n == 0:
		return 0
	case isFull(int(n)):
		return element + fullFrame
	}
	return element + n + n/8 // rounded up by the allocator
}
