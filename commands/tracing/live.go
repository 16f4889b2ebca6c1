package tracing

import (
	"context"
	"io"
	"time"
)

// live reads the bytes that another process sends, until ctx ends.
type live struct {
	ctx    context.Context //nolint:containedctx // io.Reader has none
	idle   func()          // called while there is nothing to read
	chunks chan []byte
	rest   []byte // of the latest chunk
	err    error  // why there are no more chunks; set before they are closed
}

// newLive returns a live that reads from r in another goroutine, which ends at the end of r.
func newLive(ctx context.Context, r io.Reader, idle func()) *live {
	l := &live{ctx: ctx, idle: idle, chunks: make(chan []byte)}
	go func() {
		defer close(l.chunks)
		for {
			const size = 32 << 10
			p := make([]byte, size)
			n, err := r.Read(p)
			if n > 0 {
				select {
				case l.chunks <- p[:n]:
				case <-ctx.Done():
				}
			}
			if err != nil || ctx.Err() != nil {
				l.err = err
				return
			}
		}
	}()
	return l
}

func (l *live) Read(p []byte) (int, error) {
	const interval = 100 * time.Millisecond
	for len(l.rest) == 0 {
		select {
		case chunk, ok := <-l.chunks:
			if !ok {
				return 0, l.err
			}
			l.rest = chunk
		case <-time.After(interval):
			l.idle()
		case <-l.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
