package relay

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// openTimeout is how long a Worker may take to accept earlier streams.
const openTimeout = 30 * time.Second

// bridge forwards a stream of an engineer's session to one of the Worker's, both ways. An
// idle bridge has no goroutine and no buffer. A peer that doesn't read stops the other one:
// unread bytes stay in the window of the stream that they arrived on.
type bridge struct {
	from, to  *session
	near, far *wsmux.Stream // the engineer's and the Worker's
	up, down  direction     // to the Worker, and from it
	begin     time.Time
	ended     atomic.Int32 // directions
	reason    atomic.Pointer[error]
}

// direction writes to the stream at the end of one direction.
type direction struct {
	*wsmux.Stream

	source *session     // of the bytes
	n      atomic.Int64 // written
	total  *atomic.Int64
}

// TryWrite implements mux.TryWriter.
func (d *direction) TryWrite(p []byte) (int, error) { return d.count(d.Stream.TryWrite(p)) }

func (d *direction) Write(p []byte) (int, error) { return d.count(d.Stream.Write(p)) }

// count counts bytes that were written.
func (d *direction) count(n int, err error) (int, error) {
	d.n.Add(int64(n))
	d.total.Add(int64(n))
	return n, err
}

// Abort implements mux.Aborter. An engineer still receives the bytes that the Worker has sent
// before the end of its session, unless dismiss ends that of the engineer.
func (d *direction) Abort() {
	if d.source.role == Dial || d.source.Err() == nil {
		_ = d.Reset()
	}
}

var (
	errTooManyStreams = errors.New("too many streams")
	errGone           = errors.New(gone)
)

// forward forwards a stream that the engineer of s has opened.
func (r *Relay) forward(s *session, near *wsmux.Stream) {
	b := &bridge{from: s, near: near, begin: time.Now()}
	s.mu.Lock()
	var refusal error
	switch {
	case s.idle != nil:
		refusal = errGone
	case len(s.bridges) >= s.maxStreams(r.opts.MaxStreams):
		refusal = errTooManyStreams
	case s.bridges == nil:
		s.bridges = map[*bridge]struct{}{b: {}}
	default:
		s.bridges[b] = struct{}{}
	}
	s.mu.Unlock()
	if refusal != nil {
		s.refused.Add(1)
		_ = near.Reset()
		r.observe(b, refusal)
		return
	}
	r.count(func(t *Totals) { t.Streams++ })
	r.running.Add(1) // s counts, too, so Close is still waiting
	go r.connect(b)  // the Worker may be slow to accept
}

// connect opens the Worker's stream, and starts to forward.
func (r *Relay) connect(b *bridge) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), openTimeout, netdiag.TimeoutError(openTimeout))
	defer cancel()
	to, far, err := r.open(ctx, b.from.worker)
	if err != nil {
		b.from.refused.Add(1)
		_ = b.near.Reset()
		r.finishBridge(b, err)
		return
	}
	b.from.mu.Lock()
	b.to, b.far = to, far
	b.up.Stream, b.up.source, b.up.total = far, b.from, &r.up
	b.down.Stream, b.down.source, b.down.total = b.near, to, &r.down
	b.from.mu.Unlock()
	b.near.ForwardTo(&b.up, func(err error) { r.directionEnded(b, far, err) })
	far.ForwardTo(&b.down, func(err error) { r.directionEnded(b, b.near, err) })
}

// open opens a stream to the Worker.
func (r *Relay) open(ctx context.Context, w *worker) (*session, *wsmux.Stream, error) {
	for {
		r.mu.Lock()
		s := w.current()
		r.mu.Unlock()
		if s == nil {
			return nil, nil, errGone
		}
		stream, err := s.Open(ctx)
		if err == nil {
			return s, stream, nil
		}
		if ctx.Err() != nil {
			return nil, nil, err
		}
		r.leave(s) // it has ended, or the Worker is going away
	}
}

// directionEnded ends the direction to dst, whose bytes have been written: with a FIN if err
// is nil, and otherwise both directions with a reset.
func (r *Relay) directionEnded(b *bridge, dst *wsmux.Stream, err error) {
	hasGone := b.to.Err() != nil
	switch {
	case err == nil && dst == b.near && hasGone: // also ends the other direction
		b.reason.CompareAndSwap(nil, &errGone)
		_ = dst.Close()
	case dst == b.far && hasGone: // the other direction may still have bytes for the engineer
		b.reason.CompareAndSwap(nil, &errGone)
	case err == nil:
		_ = dst.CloseWrite()
	default:
		b.reason.CompareAndSwap(nil, &err)
		_ = b.near.Reset() // also makes the other direction end
		_ = b.far.Reset()
	}
	if b.ended.Add(1) < 2 {
		return
	}
	_ = b.near.Close()
	_ = b.far.Close()
	err = nil
	if reason := b.reason.Load(); reason != nil {
		err = *reason
	}
	r.finishBridge(b, err)
}

func (r *Relay) finishBridge(b *bridge, err error) {
	s := b.from
	s.mu.Lock()
	delete(s.bridges, b)
	if s.idle != nil && len(s.bridges) == 0 {
		close(s.idle) // no more are added
	}
	s.up += b.up.n.Load()
	s.down += b.down.n.Load()
	s.mu.Unlock()
	r.observe(b, err)
	r.running.Done()
}

func (r *Relay) observe(b *bridge, err error) {
	if r.opts.Observe == nil {
		return
	}
	rec := b.from.newRecord("stream")
	rec.Stream, rec.Up, rec.Down, rec.Begin = b.near.ID(), b.up.n.Load(), b.down.n.Load(), b.begin
	if b.to != nil {
		rec.Worker = b.to.id
	}
	switch {
	case err == nil:
	case errors.Is(err, mux.ErrReset), errors.Is(err, net.ErrClosed):
		rec.Reason = "reset"
	default:
		rec.Reason = err.Error()
	}
	r.opts.Observe(rec)
}
