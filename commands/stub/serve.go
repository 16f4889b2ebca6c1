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

// A method is a method in the file, with its rules.
type method struct {
	name  string // /pkg.Service/Method
	line  int
	desc  protoreflect.MethodDescriptor
	rules []*rule

	recorded *recorded // nil: the file has rules
}

// A rule is the answer to the requests that match when.
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

// A reply is a delay, followed by a message unless that is nil.
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
		return s.unimplemented(name)
	case m.recorded != nil:
		return s.serveRecorded(m, stream)
	case m.desc.IsStreamingClient() && m.desc.IsStreamingServer():
		return s.serveBidi(m, stream)
	default:
		return s.serveSingle(m, stream)
	}
}

// unimplemented returns the error for a method that isn't in the file.
func (s *Stub) unimplemented(name string) error {
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	sd, ok := s.find(service).(protoreflect.ServiceDescriptor)
	switch {
	case !ok:
		return status.Errorf(codes.Unimplemented, "stub: unknown service %s", service)
	case sd.Methods().ByName(protoreflect.Name(method)) == nil:
		return status.Errorf(codes.Unimplemented, "stub: unknown method %s for service %s", method, service)
	case s.recorded:
		return status.Errorf(codes.Unimplemented, "stub: no recorded call of %s", name)
	default:
		return status.Errorf(codes.Unimplemented, "stub: no answer for %s", name)
	}
}

// serveSingle serves RPCs that get one answer: all but bidirectional ones.
func (s *Stub) serveSingle(m *method, stream grpc.ServerStream) error {
	var last *dynamicpb.Message
	for {
		req, err := receive(m, stream)
		if errors.Is(err, io.EOF) {
			break
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
	return s.waitEnd(stream.Context())
}

// serveBidi serves a bidirectional RPC.
func (s *Stub) serveBidi(m *method, stream grpc.ServerStream) error {
	var trailers metadata.MD
	defer func() { stream.SetTrailer(trailers) }()
	requests, first, stayOpen := receiveRequests(m, stream), true, false
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
		return s.waitEnd(stream.Context())
	}
	return nil
}

// find returns the descriptor with a full name, nil if there is none.
func (s *Stub) find(name string) protoreflect.Descriptor {
	for _, files := range s.files {
		if d, err := files.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
			return d
		}
	}
	return nil
}

// receive receives a request, or [io.EOF] if the client streams. protobuf panics on some malformed map entries, such as one
// with two keys of which the second has another type.
func receive(m *method, stream grpc.ServerStream) (_ *dynamicpb.Message, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = status.Errorf(codes.Internal, "stub: malformed request: %v", r)
		}
	}()
	req := dynamicpb.NewMessage(m.desc.Input())
	err = stream.RecvMsg(req)
	if errors.Is(err, io.EOF) && !m.desc.IsStreamingClient() {
		err = status.Errorf(codes.Internal, "stub: call to %s without a request", m.name)
	}
	return req, err
}

// recvResult is the result of receive.
type recvResult struct {
	request *dynamicpb.Message
	err     error
}

// receiveRequests returns a channel of the requests of stream, so that the caller can
// select. Its goroutine ends when the call does.
func receiveRequests(m *method, stream grpc.ServerStream) <-chan recvResult {
	requests := make(chan recvResult)
	go func() {
		for {
			req, err := receive(m, stream)
			select {
			case requests <- recvResult{req, err}:
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

// next waits for a request, a half-close (io.EOF), Close or the end of the call.
func (s *Stub) next(ctx context.Context, requests <-chan recvResult) (*dynamicpb.Message, error) {
	select {
	case <-s.closed: // takes precedence over a request
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

// waitEnd waits for Close or the end of the call.
func (s *Stub) waitEnd(ctx context.Context) error {
	select {
	case <-s.closed:
		return errClosed()
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func errClosed() error { return status.Error(codes.Unavailable, "stub: shutting down") }

// match returns the first rule that matches req. req is nil for a call without requests.
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

// send waits, sends the headers and the replies of r, and returns its error.
func (r *rule) send(stream grpc.ServerStream, headers metadata.MD) error {
	if err := wait(stream.Context(), r.delay); err != nil {
		return err
	}
	if headers != nil {
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

// wait waits for d. It returns an error if the call ends first.
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
