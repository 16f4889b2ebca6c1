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

// handle passes one call on. It is a grpc.StreamHandler.
func (p *Proxy) handle(_ any, caller grpc.ServerStream) error {
	ctx := caller.Context()
	method, _ := grpc.MethodFromServerStream(caller)
	service, _ := splitMethod(method)
	routes := p.routes.Load()
	u, guess := routes.find(service)

	md, _ := metadata.FromIncomingContext(ctx) // a copy
	c := &call{caller: caller, method: method, upstream: u}
	var err error
	if u != nil {
		err = c.pass(ctx, md)
	}
	if st := status.Convert(err); u == nil || guess && !c.answered && st.Code() == codes.Unimplemented {
		err = routes.nobody(service, st)
	}
	return err
}

// call is a call that is passed on.
type call struct {
	method   string
	caller   grpc.ServerStream
	upstream *Upstream

	answered bool // by more than trailers

	losses int // of the upstream's connections, when the call began

	requestErr atomic.Pointer[error] // why the requests broke off, before the upstream's end is cancelled
}

// pass makes the call to an upstream and returns its status.
func (c *call) pass(ctx context.Context, md metadata.MD) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.begin(ctx, md)
	if err != nil {
		return err
	}
	// It ends when the caller does, or the upstream, or this method returns
	// and with it the caller's stream ends.
	go c.passRequests(stream, cancel)
	err = c.passResponses(ctx, stream)
	// The upstream's stream may have been cancelled because a request could
	// not be passed on.
	if cause := c.requestErr.Load(); cause != nil && status.Code(err) == codes.Canceled {
		return *cause
	}
	return err
}

// desc is any kind of RPC: what is sent and when is up to the two ends.
var desc = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// begin begins the call to the upstream.
func (c *call) begin(ctx context.Context, md metadata.MD) (grpc.ClientStream, error) {
	u := c.upstream
	opts := make([]grpc.CallOption, 1, 4)
	opts[0] = grpc.ForceCodecV2(clientCodec)
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
	ctx = metadata.NewOutgoingContext(ctx, strip(md))
	u.ready(ctx)
	c.losses = u.lossCount()
	if authority != "" {
		stream, err := u.conn.NewStream(ctx, desc, c.method, append(opts, grpc.CallAuthority(authority))...)
		if err == nil {
			return stream, nil
		}
		if status.Code(err) != codes.Unavailable {
			return nil, u.unreachable(err)
		}
		// The upstream's certificate may not be for that name: gRPC has no error of
		// its own for that. Nothing has been sent yet.
	}
	stream, err := u.conn.NewStream(ctx, desc, c.method, opts...)
	if err != nil {
		return nil, u.unreachable(err)
	}
	return stream, nil
}

// compression returns the encoding of the caller's messages if it can be
// spoken here, and otherwise "".
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

// passRequests passes the caller's messages on to the upstream.
func (c *call) passRequests(stream grpc.ClientStream, cancel context.CancelFunc) {
	var f frame
	for {
		err := c.caller.RecvMsg(&f)
		if err == nil {
			err = stream.SendMsg(&f)
			f.free()
			if errors.Is(err, io.EOF) {
				return // the upstream ended the call
			}
		} else if errors.Is(err, io.EOF) {
			_ = stream.CloseSend() // is always nil
			return
		}
		if err != nil {
			c.requestErr.Store(&err)
			cancel()
			return
		}
	}
}

// passResponses passes on to the caller what the upstream answers, and returns
// its status.
func (c *call) passResponses(ctx context.Context, stream grpc.ClientStream) error {
	// Headers go ahead of the first message, for which the caller may wait
	// with a request of its own until it has them. There are none in a
	// response of trailers only.
	if md, err := stream.Header(); err == nil && md != nil {
		c.answered = true
		if err := c.caller.SendHeader(strip(md)); err != nil {
			return gone(ctx, err)
		}
	}
	var f frame
	for {
		if err := stream.RecvMsg(&f); err != nil {
			trailer := stream.Trailer()
			if errors.Is(err, io.EOF) {
				err = nil
			} else {
				err = c.upstream.lost(err, trailer, c.losses)
			}
			c.caller.SetTrailer(strip(trailer))
			return err
		}
		err := c.caller.SendMsg(&f)
		f.free()
		if err != nil {
			return gone(ctx, err)
		}
	}
}

// gone returns the error of a response that could not be sent, which is that of
// the context if the caller has gone.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}
