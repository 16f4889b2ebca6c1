package replay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// script is a recorded call.
type script struct {
	*recording.Call
	method              string
	requests, responses []*recording.Event
	headers, trailers   []hpack.HeaderField
	timeout             time.Duration // 0: the recording doesn't depend on one

	end    *recording.Event // nil: the call was still open
	ends   bool             // by the server, or its deadline
	status *status.Status   // if it ends
	reset  bool             // the server didn't send the status, but reset the stream
}

func newScript(c *recording.Call) *script {
	s := &script{Call: c, method: c.Method(), end: c.End()}
	for _, e := range c.Events {
		switch e.Type {
		case trace.ClientMessage:
			s.requests = append(s.requests, e)
		case trace.ServerMessage:
			s.responses = append(s.responses, e)
		case trace.ServerHeader:
			s.headers = e.Metadata
		case trace.ServerTrailer:
			s.trailers = e.Metadata
		}
	}
	timeout := c.Events[0].Timeout
	if s.end != nil {
		s.status, s.reset = endStatus(s.end, timeout)
		s.ends = s.status != nil
	}
	if hitDeadline(s.end, timeout) {
		s.timeout = timeout
	}
	return s
}

// took returns the duration of the recorded call.
func (s *script) took() time.Duration {
	return s.Events[len(s.Events)-1].Time.Sub(s.Events[0].Time)
}

// metadata returns the metadata to send: that of the recording, with the values of extra in
// place of those with the same names.
func (s *script) metadata(extra metadata.MD) metadata.MD {
	md := metadata.MD{}
	for _, f := range s.Events[0].Metadata {
		if value, ok := recording.MetadataValue(f); ok && !isProtocol(f.Name) {
			md.Append(f.Name, value)
		}
	}
	for name, values := range extra {
		md.Delete(name)
		md.Append(name, values...)
	}
	return md
}

// outcome is the result of a replayed call.
type outcome struct {
	responses         [][]byte // no more than in the recording
	count             int
	headers, trailers metadata.MD
	status            *status.Status // nil: cancelled by the replay
	failure           error          // the call couldn't be made; nil: the server has ended it
	lost              bool           // … because there is no connection
	took              time.Duration
}

// running is a call that is being replayed.
type running struct {
	*script
	stop     context.CancelFunc
	requests chan []byte // has room for all; closed: the client has sent all
	progress chan struct{}
	done     chan struct{} // closed when outcome is complete

	mu      sync.Mutex // guards outcome until done is closed
	outcome outcome
	stopped bool // by finish
}

// start starts a call.
func start(ctx context.Context, s *script, opts *Options) *running {
	r := &running{script: s, requests: make(chan []byte, len(s.requests)), progress: make(chan struct{}, 1), done: make(chan struct{})}
	if s.timeout > 0 {
		ctx, r.stop = context.WithTimeout(ctx, s.timeout)
	} else {
		ctx, r.stop = context.WithCancel(ctx)
	}
	ctx, wire := call.Measure(metadata.NewOutgoingContext(ctx, s.metadata(opts.Metadata)))
	go func() {
		defer close(r.done)
		started := time.Now()
		err := r.run(ctx, opts.Conn)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcome.took = time.Since(started)
		r.conclude(err, wire().Trailers > 0)
	}()
	return r
}

// run makes the call, and returns the error that ended it, io.EOF for OK.
func (r *running) run(ctx context.Context, cc grpc.ClientConnInterface) error {
	defer r.stop()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, r.method,
		grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(call.DefaultMaxMsgSize), grpc.MaxCallSendMsgSize(call.DefaultMaxMsgSize))
	if err != nil {
		return err
	}
	var sending sync.WaitGroup
	sending.Go(func() { r.send(ctx, stream) })
	for err == nil {
		var data []byte
		if err = stream.RecvMsg(&data); err == nil {
			r.received(data)
		}
	}
	headers, _ := stream.Header() // the error is err
	r.mu.Lock()
	r.outcome.headers, r.outcome.trailers = headers, stream.Trailer()
	r.mu.Unlock()
	r.stop()
	sending.Wait()
	return err
}

// send sends requests until there are no more, or the call ends.
func (r *running) send(ctx context.Context, stream grpc.ClientStream) {
	for {
		select {
		case data, ok := <-r.requests:
			if !ok {
				_ = stream.CloseSend() // RecvMsg returns the error
				return
			}
			if stream.SendMsg(data) != nil {
				return // likewise
			}
		case <-ctx.Done():
			return
		}
	}
}

// received adds a response. One with the same bytes as in the recording takes no memory.
func (r *running) received(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outcome
	if o.count < len(r.responses) {
		if want := r.responses[o.count].Data; bytes.Equal(data, want) {
			data = want
		}
		o.responses = append(o.responses, data)
	}
	o.count++
	select {
	case r.progress <- struct{}{}:
	default:
	}
}

// conclude sets the end of the outcome. hasTrailers says that the server has sent the
// status.
func (r *running) conclude(err error, hasTrailers bool) {
	o := &r.outcome
	s := status.Convert(err)
	switch {
	case errors.Is(err, io.EOF):
		o.status = status.New(codes.OK, "")
	case hasTrailers, strings.HasPrefix(s.Message(), "stream terminated by RST_STREAM"), r.timeout > 0 && s.Code() == codes.DeadlineExceeded:
		o.status = s
	case r.stopped:
	default:
		o.failure, o.lost = errors.New(s.Message()), s.Code() == codes.Unavailable
	}
}

// await waits until so many responses have arrived, or the call has ended. It returns
// false at the time limit, and when ctx ends.
func (r *running) await(ctx context.Context, responses int, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		r.mu.Lock()
		enough := r.outcome.count >= responses
		r.mu.Unlock()
		if enough {
			return true
		}
		select {
		case <-r.progress:
		case <-r.done:
			return true
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// awaitEnd is like await, for the end of the call.
func (r *running) awaitEnd(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// finish cancels the call if it hasn't ended, and returns its outcome.
func (r *running) finish() *outcome {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.stop()
	<-r.done
	return &r.outcome
}

// codec passes messages on as bytes.
type codec struct{}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil //nolint:errcheck,forcetypeassert // nothing else is sent
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize() //nolint:errcheck,forcetypeassert // nothing else is received
	return nil
}

// Name is empty so that the content type is application/grpc, the default.
func (codec) Name() string { return "" }
