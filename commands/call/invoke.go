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

// Response is a received message.
type Response struct {
	Message protoreflect.ProtoMessage
	Time    time.Time // of arrival
	Number  int       // of the response in the call, from 1
	Data    []byte    // encoded, uncompressed
	Size    int       // of Data, in bytes
	Wire    int       // size in the HTTP/2 stream, in bytes; 0 if unknown
}

// Result is the result of a call.
type Result struct {
	Status   *status.Status // never nil
	Headers  metadata.MD    // nil if there were none
	Trailers metadata.MD

	Sent     int  // messages of the Requests, without the empty default
	Received int  // messages
	Stopped  bool // cancelled after Options.MaxResponses responses

	Timings Timings
	Wire    Wire
}

// Unanswered reports whether the call ended with UNAVAILABLE before any response, neither
// headers nor a message. The server may have executed it all the same.
func (r *Result) Unanswered() bool {
	return r.Status.Code() == codes.Unavailable && r.Headers == nil && r.Received == 0
}

// Timings are the times of events since the start of the call; 0 means never.
type Timings struct {
	Headers time.Duration // headers received
	First   time.Duration // first message received
	End     time.Duration // call ended
}

// errMaxResponses is the cause of a cancellation after Options.MaxResponses responses.
var errMaxResponses = errors.New("enough responses")

// Invoke calls a method with the messages of requests and reports to events, which may be
// nil. It returns when the call has ended. The result has the status, also if the server
// rejects the call or ctx ends. The server may end the call before requests is exhausted.
//
// An error is one of requests, such as a [*RequestError] for an invalid message, or of
// events. It cancels the call.
//
// A unary or server-streaming call sends the first message, or an empty one if there is
// none; more than one is an error. Other calls send the messages as Next returns them,
// until io.EOF.
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
		events.End(ctx, result)
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
	sent   int  // used by send until it returns
	empty  bool // requests has no messages: send an empty default
}

func (i *invocation) run(ctx context.Context, cc grpc.ClientConnInterface) (*Result, error) {
	var first request
	if !i.method.IsStreamingClient() {
		var err error
		if first, err = i.singleRequest(ctx); err != nil {
			return nil, err // before anything is sent
		}
	}
	if i.events.Sending != nil {
		i.events.Sending(ctx, i.method, i.opts.Metadata)
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
	received := i.receive(ctx, result)
	stop() // the server has ended the call; discard the remaining requests
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

// singleRequest returns the request of a method that isn't client-streaming.
func (i *invocation) singleRequest(ctx context.Context) (request, error) {
	m := dynamicpb.NewMessage(i.method.Input())
	err := i.requests.Next(ctx, m)
	switch {
	case errors.Is(err, io.EOF):
		i.empty = true
		m = dynamicpb.NewMessage(i.method.Input())
	case err != nil:
		return nil, err
	case i.requests.More():
		return nil, &RequestError{Number: 2, Err: fmt.Errorf("%s takes one message, and there are more", reflection.Name(i.method))}
	}
	data, err := encode(m)
	if err != nil {
		return nil, &RequestError{Number: 1, Err: err}
	}
	return data, nil
}

// send sends first or, if that is nil, all messages of requests. If requests fails, it
// cancels the call and returns the error.
func (i *invocation) send(ctx context.Context, first request) error {
	if !i.method.IsStreamingClient() {
		return i.sendOne(first, true)
	}
	for number := 1; ; number++ {
		m := dynamicpb.NewMessage(i.method.Input())
		err := i.requests.Next(ctx, m)
		if errors.Is(err, io.EOF) {
			_ = i.stream.CloseSend() // RecvMsg returns the error
			return nil
		}
		var data request
		if err == nil {
			if data, err = encode(m); err != nil {
				err = &RequestError{Number: number, Err: err}
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the call has ended
			}
			i.cancel(err)
			return err
		}
		if err := i.sendOne(data, false); err != nil {
			return err
		}
	}
}

// sendOne sends a message. It returns io.EOF if the call has ended, other errors if the
// message can't be sent.
func (i *invocation) sendOne(data request, last bool) error {
	if err := i.stream.SendMsg(data); err != nil {
		return err
	}
	if !i.empty {
		i.sent++
	}
	if last {
		_ = i.stream.CloseSend() // RecvMsg returns the error
	}
	return nil
}

// receive receives until the call ends, and returns the reason: io.EOF for OK.
func (i *invocation) receive(ctx context.Context, result *Result) error {
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
		buf := &responseBuffer{message: r.Message}
		if err := i.stream.RecvMsg(buf); err != nil {
			return err
		}
		r.Time = time.Now()
		if result.Received++; result.Received == 1 {
			result.Timings.First = r.Time.Sub(i.start)
		}
		r.Data, r.Size, r.Wire = buf.data, len(buf.data), i.meter.lastMessage()
		if i.events.Message != nil {
			if err := i.events.Message(ctx, r); err != nil {
				if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
					i.drain(buf)
					return status.FromContextError(ctx.Err()).Err()
				}
				i.cancel(err)
				return &eventError{err}
			}
		}
		if !i.method.IsStreamingServer() {
			return io.EOF
		}
		if i.opts.MaxResponses > 0 && result.Received == i.opts.MaxResponses {
			i.cancel(errMaxResponses)
			i.drain(buf)
			return errMaxResponses
		}
	}
}

// drain receives into buf until the stream, whose context has been cancelled, has ended.
func (i *invocation) drain(buf *responseBuffer) {
	for i.stream.RecvMsg(buf) == nil {
	}
}

// eventError is an error of Events.Message.
type eventError struct{ error }

// conclude completes the result, given the errors that ended sending and receiving.
func (i *invocation) conclude(result *Result, sent, received error) (*Result, error) {
	if ee, ok := errors.AsType[*eventError](received); ok {
		return nil, ee.error
	}
	result.Sent = i.sent
	sendStatus, isStatus := status.FromError(sent)
	switch {
	case errors.Is(received, errMaxResponses):
		result.Stopped = true
		result.Status = status.New(codes.OK, "")
	case sent != nil && !errors.Is(sent, io.EOF) && !isStatus:
		return nil, sent
	case sent != nil && !errors.Is(sent, io.EOF):
		result.Status = sendStatus // gRPC could not send it
	case errors.Is(received, io.EOF):
		result.Status = status.New(codes.OK, "")
	default:
		result.Status = statusOf(received)
	}
	if !result.Stopped { // a cancelled stream has no trailers
		result.Trailers = i.stream.Trailer()
	}
	i.finish(result)
	return result, nil
}

// statusOf returns the status of an error of grpc-go. If the server notices an expired
// deadline first, it resets the stream and grpc-go reports only the reset.
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
