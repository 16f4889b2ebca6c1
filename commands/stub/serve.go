package stub

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A method is one that the file has rules for.
type method struct {
	name  string // /pkg.Service/Method
	line  int
	desc  protoreflect.MethodDescriptor
	rules []*rule
}

// A rule answers the requests that it matches.
type rule struct {
	line     int
	when     matcher // nil: all requests
	delay    time.Duration
	headers  metadata.MD
	replies  []reply
	stayOpen bool
	err      error // the status to end with; nil for OK
	trailers metadata.MD
}

// A reply is a message, or a pause if that is nil, after a delay.
type reply struct {
	delay   time.Duration
	message proto.Message
}

// serve is the [grpc.StreamHandler] of every call.
func (s *Stub) serve(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream)
	m := s.methods[name]
	switch {
	case m == nil:
		return s.unknown(name)
	case m.desc.IsStreamingClient() && m.desc.IsStreamingServer():
		return s.converse(m, stream)
	default:
		return s.answer(m, stream)
	}
}

// unknown is the error for a method that is not in the file.
func (s *Stub) unknown(name string) error {
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	desc, _ := s.files.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := desc.(protoreflect.ServiceDescriptor)
	switch {
	case !ok:
		return status.Errorf(codes.Unimplemented, "stub: unknown service %s", service)
	case sd.Methods().ByName(protoreflect.Name(method)) == nil:
		return status.Errorf(codes.Unimplemented, "stub: unknown method %s for service %s", method, service)
	default:
		return status.Errorf(codes.Unimplemented, "stub: no answer for %s", name)
	}
}

// answer serves every kind of RPC but the bidirectional one.
func (s *Stub) answer(m *method, stream grpc.ServerStream) error {
	var last *dynamicpb.Message
	for {
		req := dynamicpb.NewMessage(m.desc.Input())
		err := stream.RecvMsg(req)
		if m.desc.IsStreamingClient() && errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, io.EOF) {
			return status.Errorf(codes.Internal, "stub: call to %s without a request", m.name)
		}
		if err != nil {
			return err
		}
		last = req
		if !m.desc.IsStreamingClient() {
			break
		}
	}
	r, err := m.match(last)
	if err != nil {
		return err
	}
	stream.SetTrailer(r.trailers)
	if err := r.send(stream, r.headers); err != nil || !r.stayOpen {
		return err
	}
	return s.stay(stream.Context())
}

// converse serves a bidirectional RPC.
func (s *Stub) converse(m *method, stream grpc.ServerStream) error {
	var trailers metadata.MD
	defer func() { stream.SetTrailer(trailers) }()
	requests, first, stayOpen := receive(m, stream), true, false
	for {
		req, err := s.next(stream.Context(), requests)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r, err := m.match(req)
		if err != nil {
			return err
		}
		headers := r.headers
		if !first {
			headers = nil // too late for them
		}
		first, stayOpen, trailers = false, stayOpen || r.stayOpen, r.trailers
		if err := r.send(stream, headers); err != nil {
			return err
		}
	}
	if stayOpen {
		return s.stay(stream.Context())
	}
	return nil
}

// received is what one RecvMsg has given.
type received struct {
	request *dynamicpb.Message
	err     error
}

// receive hands the requests of stream on, so that whoever waits for one can
// wait for something else as well. It ends with the call.
func receive(m *method, stream grpc.ServerStream) <-chan received {
	requests := make(chan received)
	go func() {
		for {
			req := dynamicpb.NewMessage(m.desc.Input())
			err := stream.RecvMsg(req)
			select {
			case requests <- received{req, err}:
			case <-stream.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return requests
}

// next waits for a request, the end of them (io.EOF), Close or the call's end.
func (s *Stub) next(ctx context.Context, requests <-chan received) (*dynamicpb.Message, error) {
	select {
	case <-s.closed: // if both are ready
		return nil, errClosed()
	default:
	}
	select {
	case r := <-requests:
		return r.request, r.err
	case <-s.closed:
		return nil, errClosed()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// stay waits for Close or the call's end.
func (s *Stub) stay(ctx context.Context) error {
	select {
	case <-s.closed:
		return errClosed()
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func errClosed() error { return status.Error(codes.Unavailable, "stub: is shutting down") }

// match returns the first rule for req, which is nil if there was no request.
func (m *method) match(req *dynamicpb.Message) (*rule, error) {
	for _, r := range m.rules {
		if r.when == nil || req != nil && r.when(req) {
			return r, nil
		}
	}
	if req == nil {
		return nil, status.Errorf(codes.Unimplemented, "stub: no rule for %s matches a call without requests", m.name)
	}
	return nil, status.Errorf(codes.Unimplemented, "stub: no rule for %s matches the request", m.name)
}

// send does what r says, up to its error or the point where it stays open.
func (r *rule) send(stream grpc.ServerStream, headers metadata.MD) error {
	if err := wait(stream.Context(), r.delay); err != nil {
		return err
	}
	if len(headers) > 0 {
		if err := stream.SendHeader(headers); err != nil {
			return err
		}
	}
	for _, reply := range r.replies {
		if err := wait(stream.Context(), reply.delay); err != nil {
			return err
		}
		if reply.message == nil {
			continue
		}
		if err := stream.SendMsg(reply.message); err != nil {
			return err
		}
	}
	return r.err
}

// wait returns after d, or with an error when the call ends before that.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
