package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// CPU-bound tests aren't parallel: they would delay tests with timeouts, such as those of
// connecting.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen returns a loopback listener.
func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// serve serves gRPC on a loopback listener until the test ends, and returns the address.
func serve(tb testing.TB, register func(*grpc.Server), opts ...grpc.ServerOption) string {
	tb.Helper()
	l := listen(tb)
	serveOn(tb, l, register, opts...)
	return l.Addr().String()
}

func serveOn(tb testing.TB, l net.Listener, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.Server {
	tb.Helper()
	srv := grpc.NewServer(opts...)
	if register != nil {
		register(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	tb.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return srv
}

// serveRaw serves every method with a handler of rawMessages.
func serveRaw(tb testing.TB, h func(s grpc.ServerStream) error, opts ...grpc.ServerOption) string {
	tb.Helper()
	return serve(tb, nil, append(rawOptions(h), opts...)...)
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
func upstream(tb testing.TB, addr string, opts *UpstreamOptions) *Upstream {
	tb.Helper()
	u, err := NewUpstream(addr, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = u.Close() })
	return u
}

// client returns a gRPC client of addr.
func client(tb testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*wsmux.MaxMsgSize), grpc.MaxCallSendMsgSize(2*wsmux.MaxMsgSize)),
	}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	return cc
}

// proxyTo serves a proxy to the upstreams and returns a client of it.
func proxyTo(tb testing.TB, upstreams ...*Upstream) *grpc.ClientConn {
	tb.Helper()
	return client(tb, serve(tb, nil, New(upstreams).ServerOptions()...))
}

// proxyClient serves a proxy to the server at addr and returns a client of it.
func proxyClient(tb testing.TB, addr string) *grpc.ClientConn {
	tb.Helper()
	return proxyTo(tb, upstream(tb, addr, nil))
}

func newRawMessage(b []byte) *rawMessage { return &rawMessage{mem.BufferSlice{mem.SliceBuffer(b)}} }

// open starts a call with rawMessages.
func open(ctx context.Context, tb testing.TB, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) grpc.ClientStream {
	tb.Helper()
	s, err := cc.NewStream(ctx, streamDesc, method, append([]grpc.CallOption{grpc.ForceCodecV2(clientCodec)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// invoke makes a unary call with raw bytes.
func invoke(ctx context.Context, cc *grpc.ClientConn, method string, req []byte, opts ...grpc.CallOption) ([]byte, error) {
	var resp rawMessage
	err := cc.Invoke(ctx, method, newRawMessage(req), &resp, append([]grpc.CallOption{grpc.ForceCodecV2(clientCodec)}, opts...)...)
	if err != nil {
		return nil, err
	}
	defer resp.free()
	return resp.data.Materialize(), nil
}

// echo sends every message back.
func echo(s grpc.ServerStream) error {
	var m rawMessage
	for {
		if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err := s.SendMsg(&m)
		m.free()
		if err != nil {
			return err
		}
	}
}

// send sends one message on a client or server stream.
func send(tb testing.TB, s interface{ SendMsg(any) error }, msg string) {
	tb.Helper()
	if err := s.SendMsg(newRawMessage([]byte(msg))); err != nil {
		tb.Fatalf("SendMsg(%q) = %v", msg, err)
	}
}

// receive receives one message on a client or server stream.
func receive(s interface{ RecvMsg(any) error }) (string, error) {
	var m rawMessage
	if err := s.RecvMsg(&m); err != nil {
		return "", err
	}
	defer m.free()
	return string(m.data.Materialize()), nil
}

// eventTimeout bounds the wait for an event that must happen. It is long because it
// expires only if the test fails.
const eventTimeout = time.Minute

// wait waits for an event.
func wait[T any](tb testing.TB, c <-chan T, event string) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-time.After(eventTimeout):
		tb.Fatalf("no %s", event)
	}
	return v
}
