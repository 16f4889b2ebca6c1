package limit

import (
	"compress/gzip"
	"io"
	"sync"

	"google.golang.org/grpc/mem"
)

// unreserved is how much of a message is decompressed before memory is reserved for all
// of it, in bytes.
const unreserved = 16 << 10

// decompressor is a grpc.Decompressor for gzip. It waits until the largest possible
// message fits, for the given use, which is decompressing or answering.
type decompressor struct {
	session *Session
	use     use
}

var gzipReaders sync.Pool

// maxDecompressors is how many messages of a use a session decompresses at a time, those
// included that wait for memory: each takes 64 KiB that doesn't count.
const maxDecompressors = 64

// Type implements grpc.Decompressor.
func (decompressor) Type() string { return "gzip" }

// Do implements grpc.Decompressor. The result is one byte longer than a message may be if
// the message is too long: grpc-go reports that.
func (d decompressor) Do(r io.Reader) ([]byte, error) {
	s := d.session
	if c, ok := r.(interface{ Remaining() int }); ok && d.use == answering { // flow counts requests
		n := int64(c.Remaining())
		compressed := s.takeArrived(n)
		if compressed == nil {
			compressed = s.hold(n)
		}
		defer compressed.release()
	}
	select {
	case s.decompressors[d.use] <- struct{}{}:
		defer func() { <-s.decompressors[d.use] }()
	case <-s.ended.Done():
		return nil, errClosed
	}
	z, ok := gzipReaders.Get().(*gzip.Reader)
	var err error
	if ok {
		err = z.Reset(r)
	} else {
		z, err = gzip.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	defer gzipReaders.Put(z)

	out := make([]byte, 0, 512)
	limit := s.MaxMessage() + 1
	var reserved int64
	for {
		if len(out) == cap(out) {
			if cap(out) >= unreserved && reserved == 0 {
				if reserved = int64(limit); d.use == decompressing {
					reserved *= 2 // also for the decoded message
				}
				if err := s.waitHopefully(reserved, d.use); err != nil {
					return nil, err
				}
			}
			grown := make([]byte, len(out), min(2*cap(out), limit))
			copy(grown, out)
			out = grown
		}
		n, err := z.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if err == io.EOF || len(out) == limit { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
			break
		}
		if err != nil {
			s.charge(-reserved)
			return nil, err
		}
	}
	if reserved > 0 {
		if len(out) == limit {
			s.charge(-reserved)
		} else {
			memory := &held{session: s, n: reserved}
			memory.shrink(reserved / int64(limit) * int64(len(out)))
			s.decompressed.Store(&out[0], memory)
		}
	}
	return out, nil
}

// inflated returns the memory that Do has reserved for data; nil if it has not.
func (s *Session) inflated(data mem.BufferSlice) *held {
	if len(data) != 1 || data[0].Len() == 0 {
		return nil
	}
	memory, _ := s.decompressed.LoadAndDelete(&data[0].ReadOnlyData()[0])
	h, _ := memory.(*held)
	return h
}
