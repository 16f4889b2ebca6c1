package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen returns a loopback listener.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve serves gRPC on a loopback listener until the test ends, and returns
// its address.
func serve(t testing.TB, register func(*grpc.Server), opts ...grpc.ServerOption) string {
	t.Helper()
	l := listen(t)
	serveOn(t, l, register, opts...)
	return l.Addr().String()
}

func serveOn(t testing.TB, l net.Listener, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	srv := grpc.NewServer(opts...)
	if register != nil {
		register(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return srv
}

// serveRaw serves every method with one handler of raw frames.
func serveRaw(t testing.TB, h func(s grpc.ServerStream) error, opts ...grpc.ServerOption) string {
	t.Helper()
	return serve(t, nil, append(rawOptions(h), opts...)...)
}

func rawOptions(h func(s grpc.ServerStream) error) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(serverCodec),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return h(s) }),
		grpc.MaxRecvMsgSize(wsmux.MaxMsgSize),
		grpc.MaxSendMsgSize(wsmux.MaxMsgSize),
	}
}

// upstream returns an upstream that is closed when the test ends.
func upstream(t testing.TB, addr string, opts *UpstreamOptions) *Upstream {
	t.Helper()
	u, err := NewUpstream(addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// client returns a gRPC client of addr.
func client(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*wsmux.MaxMsgSize), grpc.MaxCallSendMsgSize(2*wsmux.MaxMsgSize)),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// through serves a proxy to the upstreams and returns a client of it.
func through(t testing.TB, opts *Options, upstreams ...*Upstream) *grpc.ClientConn {
	t.Helper()
	return client(t, serve(t, nil, New(upstreams, opts).ServerOptions()...))
}

// proxied is a client of a proxy to the server at addr.
func proxied(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	return through(t, nil, upstream(t, addr, nil))
}

func bytesFrame(b []byte) *frame { return &frame{mem.BufferSlice{mem.SliceBuffer(b)}} }

// open begins a call with raw frames.
func open(t testing.TB, ctx context.Context, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) grpc.ClientStream { //nolint:revive // t before ctx, as in testing helpers
	t.Helper()
	s, err := cc.NewStream(ctx, desc, method, append([]grpc.CallOption{grpc.ForceCodecV2(clientCodec)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// invoke makes a unary call with raw bytes.
func invoke(ctx context.Context, cc *grpc.ClientConn, method string, req []byte, opts ...grpc.CallOption) ([]byte, error) {
	var resp frame
	err := cc.Invoke(ctx, method, bytesFrame(req), &resp, append([]grpc.CallOption{grpc.ForceCodecV2(clientCodec)}, opts...)...)
	if err != nil {
		return nil, err
	}
	defer resp.free()
	return resp.data.Materialize(), nil
}

// echo sends every message back.
func echo(s grpc.ServerStream) error {
	var f frame
	for {
		if err := s.RecvMsg(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err := s.SendMsg(&f)
		f.free()
		if err != nil {
			return err
		}
	}
}
