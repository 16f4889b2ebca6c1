package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection"
)

// Response is a message that has come.
type Response struct {
	Message protoreflect.ProtoMessage
	Number  int // counts the call's responses, from 1
	Size    int // of the message, encoded and uncompressed, in bytes
	Wire    int // what of the HTTP/2 stream it took, in bytes; 0 if that isn't known
}

// Result is how a call has ended.
type Result struct {
	Status   *status.Status // never nil
	Headers  metadata.MD    // nil: there were none
	Trailers metadata.MD

	Sent     int  // messages of the Requests: not the empty one that stands in for none
	Received int  // messages
	Stopped  bool // ended from this side after Options.Count responses

	Timings Timings
	Wire    Wire
}

// Timings is how long things took, from the beginning of the call.
type Timings struct {
	Headers time.Duration // until the headers came; 0: they didn't
	First   time.Duration // until the first message came; 0: none did
	End     time.Duration // until the call had ended
}

// errCounted is why a call is cancelled that has had enough responses.
var errCounted = errors.New("enough responses")

// Invoke calls a method, sends what requests yields, and tells events, which may be
// nil, what comes back. It returns when the call has ended: by the server, even while
// requests has more; by the end of ctx, as a status; or by an error, which
// is one of requests, a *RequestError if a message was no good, or one of events.
// The server's refusal is no error, but in the result.
//
// A method that takes one message gets the first, or an empty one; more of them are
// an error. Others get them as they come, until io.EOF.
func Invoke(ctx context.Context, cc grpc.ClientConnInterface, m *Method, requests Requests, opts *Options, events *Events) (*Result, error) {
	if opts == nil {
		opts = &Options{}
	}
	if events == nil {
		events = &Events{}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	i := &invocation{
		method: m, requests: requests, opts: opts, events: events,
		types: m.Types(ctx), cancel: cancel, meter: &meter{},
	}
	result, err := i.run(ctx, cc)
	if err != nil {
		return nil, err
	}
	if events.End != nil {
		events.End(result)
	}
	return result, nil
}

// invocation is one call.
type invocation struct {
	method   *Method
	requests Requests
	opts     *Options
	events   *Events
	types    reflection.TypeResolver
	cancel   context.CancelCauseFunc
	meter    *meter

	stream grpc.ClientStream
	start  time.Time
	sent   int  // written by send
	empty  bool // the one message stands in for none
}

func (i *invocation) run(ctx context.Context, cc grpc.ClientConnInterface) (*Result, error) {
	var first protoreflect.ProtoMessage
	if !i.method.IsStreamingClient() {
		var err error
		if first, err = i.only(ctx); err != nil {
			return nil, err // before anything is sent
		}
	}
	if i.events.Sending != nil {
		i.events.Sending(i.method, i.opts.Metadata)
	}
	ctx = metadata.NewOutgoingContext(i.meter.attach(ctx), i.opts.Metadata)
	i.start = time.Now()
	var err error
	i.stream, err = cc.NewStream(ctx, &grpc.StreamDesc{
		StreamName:    string(i.method.Name()),
		ClientStreams: i.method.IsStreamingClient(),
		ServerStreams: i.method.IsStreamingServer(),
	}, "/"+string(i.method.Parent().FullName())+"/"+string(i.method.Name()), i.callOptions()...)
	result := &Result{}
	if err != nil {
		if i.events.Headers != nil {
			i.events.Headers(nil)
		}
		result.Status = statusOf(err)
		i.finish(result)
		return result, nil
	}
	sent := make(chan error, 1)
	sending, stop := context.WithCancel(ctx)
	go func() { sent <- i.send(sending, first) }()
	received := i.receive(result)
	stop() // the server has ended the call, whatever there is left to send
	return i.conclude(result, <-sent, received)
}

func (i *invocation) callOptions() []grpc.CallOption {
	limit := i.opts.MaxMsgSize
	if limit == 0 {
		limit = DefaultMaxMsgSize
	}
	return []grpc.CallOption{
		grpc.ForceCodecV2(codec{i.types}),
		grpc.MaxCallRecvMsgSize(limit),
		grpc.MaxCallSendMsgSize(DefaultMaxMsgSize),
	}
}

// only returns the one request of a method that takes one.
func (i *invocation) only(ctx context.Context) (protoreflect.ProtoMessage, error) {
	m := dynamicpb.NewMessage(i.method.Input())
	err := i.requests.Next(ctx, m)
	switch {
	case errors.Is(err, io.EOF):
		i.empty = true
		return dynamicpb.NewMessage(i.method.Input()), nil
	case err != nil:
		return nil, err
	case i.requests.More():
		return nil, &RequestError{Number: 2, Err: fmt.Errorf("%s takes one message, and there are more", reflection.Name(i.method))}
	}
	return m, nil
}

// send sends first, or all that requests yields. It returns why the call must be
// cancelled, after doing so.
func (i *invocation) send(ctx context.Context, first protoreflect.ProtoMessage) error {
	if first != nil {
		return i.sendOne(first, true)
	}
	for {
		m := dynamicpb.NewMessage(i.method.Input())
		err := i.requests.Next(ctx, m)
		if errors.Is(err, io.EOF) {
			_ = i.stream.CloseSend() // what is wrong, receiving tells
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the call has ended
			}
			i.cancel(err)
			return err
		}
		if err := i.sendOne(m, false); err != nil {
			return err
		}
	}
}

// sendOne sends a message. Its error is that of the message or, as io.EOF, that the
// call has ended.
func (i *invocation) sendOne(m protoreflect.ProtoMessage, last bool) error {
	if err := i.stream.SendMsg(m); err != nil {
		return err
	}
	if !i.empty {
		i.sent++
	}
	if last {
		_ = i.stream.CloseSend() // what is wrong, receiving tells
	}
	return nil
}

// receive takes what comes until the call has ended. It returns why: io.EOF for OK.
func (i *invocation) receive(result *Result) error {
	headers, err := i.stream.Header()
	if err == nil {
		if result.Headers = headers; headers != nil {
			result.Timings.Headers = time.Since(i.start)
		}
		if i.events.Headers != nil {
			i.events.Headers(headers)
		}
	}
	for {
		r := &Response{Message: dynamicpb.NewMessage(i.method.Output()), Number: result.Received + 1}
		frame := &received{message: r.Message}
		if err := i.stream.RecvMsg(frame); err != nil {
			return err
		}
		if result.Received++; result.Received == 1 {
			result.Timings.First = time.Since(i.start)
		}
		r.Size, r.Wire = frame.size, i.meter.lastMessage()
		if i.events.Message != nil {
			if err := i.events.Message(r); err != nil {
				i.cancel(err)
				return &eventError{err}
			}
		}
		if !i.method.IsStreamingServer() {
			return io.EOF
		}
		if i.opts.Count > 0 && result.Received == i.opts.Count {
			i.cancel(errCounted)
			_ = i.stream.RecvMsg(frame) // until the stream has gone
			return errCounted
		}
	}
}

// eventError is an error of Events, not of the call.
type eventError struct{ error }

// conclude makes up the result of why sending and receiving have ended.
func (i *invocation) conclude(result *Result, sent, received error) (*Result, error) {
	if ee, ok := errors.AsType[*eventError](received); ok {
		return nil, ee.error
	}
	result.Sent = i.sent
	sendStatus, isStatus := status.FromError(sent)
	switch {
	case errors.Is(received, errCounted):
		result.Stopped = true
		result.Status = status.New(codes.OK, "")
	case sent != nil && !errors.Is(sent, io.EOF) && !isStatus:
		return nil, sent
	case sent != nil && !errors.Is(sent, io.EOF):
		result.Status = sendStatus // such as a message that is too large
	case errors.Is(received, io.EOF):
		result.Status = status.New(codes.OK, "")
	default:
		result.Status = statusOf(received)
	}
	if !result.Stopped { // the trailers have come, unless the stream is still there
		result.Trailers = i.stream.Trailer()
	}
	i.finish(result)
	return result, nil
}

// statusOf returns the status of an error of gRPC's. When the time is up, the server may
// reset the call before this end sees it: then gRPC tells of the reset alone.
func statusOf(err error) *status.Status {
	s := status.Convert(err)
	if s.Code() == codes.DeadlineExceeded && strings.HasPrefix(s.Message(), "stream terminated by RST_STREAM") {
		return status.FromContextError(context.DeadlineExceeded)
	}
	return s
}

func (i *invocation) finish(result *Result) {
	result.Timings.End = time.Since(i.start)
	result.Wire = i.meter.total()
}
