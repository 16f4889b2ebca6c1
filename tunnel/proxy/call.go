package proxy

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// handle forwards one call. It is a grpc.StreamHandler.
func (p *Proxy) handle(_ any, caller grpc.ServerStream) error {
	ctx := caller.Context()
	method, _ := grpc.MethodFromServerStream(caller)
	service, _ := splitMethod(method)
	routes := p.routes.Load()
	u, guess := routes.find(service)

	md, _ := metadata.FromIncomingContext(ctx) // a copy
	c := &call{caller: caller, method: method}
	var err error
	if u != nil {
		if c.upstream, err = u.forSession(ctx); err == nil {
			err = c.forward(ctx, md)
		}
	}
	if st := status.Convert(err); u == nil || guess && !c.answered && st.Code() == codes.Unimplemented {
		err = routes.unimplemented(service, st)
	}
	return err
}

// call is a forwarded call.
type call struct {
	method   string
	caller   grpc.ServerStream
	upstream *Upstream

	answered bool // the upstream has sent more than trailers

	losses int // Upstream.lossCount at the start of the call

	requestErr atomic.Pointer[error] // set by forwardRequests before it cancels the upstream's stream
}

// forward makes the call to the upstream and returns its status.
func (c *call) forward(ctx context.Context, md metadata.MD) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.newStream(ctx, md)
	if err != nil {
		return err
	}
	// forwardRequests ends with the caller's stream, at the latest when this handler
	// returns.
	go c.forwardRequests(stream, cancel)
	err = c.forwardResponses(ctx, stream)
	// If a request failed, the upstream's stream was cancelled for that reason.
	if cause := c.requestErr.Load(); cause != nil && status.Code(err) == codes.Canceled {
		return *cause
	}
	return err
}

// streamDesc allows any kind of RPC.
var streamDesc = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// newStream starts the call to the upstream.
func (c *call) newStream(ctx context.Context, md metadata.MD) (grpc.ClientStream, error) {
	u := c.upstream
	opts := make([]grpc.CallOption, 1, 4)
	opts[0] = grpc.ForceCodecV2(u.codec)
	if ct := md["content-type"]; len(ct) > 0 {
		if sub := contentSubtype(ct[0]); sub != "" {
			opts = append(opts, grpc.CallContentSubtype(sub))
		}
	}
	if name := compression(ctx); name != "" {
		opts = append(opts, grpc.UseCompressor(name))
	}
	authority := ""
	if a := md[":authority"]; len(a) > 0 && u.keepAuthority {
		authority = a[0]
	}
	ctx = metadata.NewOutgoingContext(ctx, filterMetadata(md))
	u.ready(ctx)
	c.losses = u.lossCount()
	if authority != "" {
		stream, err := u.conn.NewStream(ctx, streamDesc, c.method, append(opts, grpc.CallAuthority(authority))...)
		if err == nil {
			return stream, nil
		}
		if status.Code(err) != codes.Unavailable {
			return nil, u.unreachable(err)
		}
		// The upstream's certificate may not be valid for the caller's authority, for
		// which grpc-go has no distinct error. Try again with the default authority;
		// nothing has been sent yet.
	}
	stream, err := u.conn.NewStream(ctx, streamDesc, c.method, opts...)
	if err != nil {
		return nil, u.unreachable(err)
	}
	return stream, nil
}

// compression returns the encoding of the caller's messages, "" if it is none or unknown.
func compression(ctx context.Context) string {
	s, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if !ok {
		return ""
	}
	name := s.RecvCompress()
	if name == encoding.Identity || encoding.GetCompressor(name) == nil {
		return ""
	}
	return name
}

// forwardRequests forwards the caller's messages to the upstream.
func (c *call) forwardRequests(stream grpc.ClientStream, cancel context.CancelFunc) {
	var m rawMessage
	for {
		err := c.caller.RecvMsg(&m)
		if err == nil {
			err = stream.SendMsg(&m)
			m.free()
			if errors.Is(err, io.EOF) {
				return // the upstream ended the call
			}
		} else if errors.Is(err, io.EOF) {
			_ = stream.CloseSend() // always nil
			return
		}
		if err != nil {
			c.requestErr.Store(&err)
			cancel()
			return
		}
	}
}

// forwardResponses forwards the upstream's response to the caller and returns its status.
func (c *call) forwardResponses(ctx context.Context, stream grpc.ClientStream) error {
	// Send the headers before the first message arrives: the caller may wait for them
	// before it sends its next request. A trailers-only response has none.
	if md, err := stream.Header(); err == nil && md != nil {
		c.answered = true
		if err := c.caller.SendHeader(filterMetadata(md)); err != nil {
			return sendError(ctx, err)
		}
	}
	var m rawMessage
	for {
		if err := stream.RecvMsg(&m); err != nil {
			trailer := stream.Trailer()
			if errors.Is(err, io.EOF) {
				err = nil
			} else {
				err = c.upstream.callError(err, trailer, c.losses)
			}
			c.caller.SetTrailer(filterMetadata(trailer))
			return err
		}
		err := c.caller.SendMsg(&m)
		m.free()
		if err != nil {
			return sendError(ctx, err)
		}
	}
}

// sendError returns the error of a failed SendMsg or SendHeader: that of ctx if the
// caller has ended the call.
func sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}
