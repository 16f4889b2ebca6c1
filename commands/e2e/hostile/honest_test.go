//go:build linux && !race

package hostile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// TestHonestUsers needs as much as the tool promises: no defense may refuse it.
func TestHonestUsers(t *testing.T) {
	p := build(t)
	upstream := serveEcho(t).String()
	for name, args := range map[string][]string{"proxy": {"--upstream", upstream}, "raw": {"--upstream", upstream, "--raw"}} {
		t.Run(name, func(t *testing.T) {
			v := p.start(t, 1, append([]string{"serve", "--accept", "127.0.0.1:0"}, args...)...)
			cc := dialSession(t, v.url())
			callEach(t, cc)
		})
	}
	t.Run("dial", func(t *testing.T) {
		v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0", "--upstream", upstream)
		d := p.start(t, 1, "dial", "--listen", "127.0.0.1:0", v.url())
		callEach(t, dialLocal(t, d.addrs[0]))
	})
	t.Run("many calls", func(t *testing.T) { manyEchoes(t, p) })
	t.Run("many sessions", func(t *testing.T) { manySessions(t, p) })
}

// callEach makes each kind of call, one after the other.
func callEach(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	t.Run("largest message", func(t *testing.T) { callLargest(t, cc) })
	t.Run("largest message, compressed", func(t *testing.T) { callLargest(t, cc, grpc.UseCompressor(gzip.Name)) })
	t.Run("largest messages at the same time", func(t *testing.T) { callLargestTogether(t, cc) })
	t.Run("largest metadata", func(t *testing.T) { callWithMetadata(t, cc) })
}

// serveEcho serves gRPC until t ends. It answers a message with itself, and metadata named
// like largeKey with the same header and trailer.
func serveEcho(t *testing.T) net.Addr {
	t.Helper()
	srv := grpc.NewServer(append(wsmux.ServerOptions(), grpc.ForceServerCodecV2(echoCodec{}), grpc.MaxHeaderListSize(2*mib),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			in, _ := metadata.FromIncomingContext(stream.Context())
			if large := in.Get(largeKey); len(large) > 0 {
				_ = stream.SetHeader(metadata.Pairs(largeKey, large[0]))
				stream.SetTrailer(metadata.Pairs(largeKey, large[0]))
			}
			var message []byte
			if err := stream.RecvMsg(&message); err != nil {
				return err
			}
			return stream.SendMsg(message)
		}))...)
	l := tunneltest.Listen(t)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	return l.Addr()
}

// echoCodec is bytesCodec that also receives messages.
type echoCodec struct{ bytesCodec }

func (echoCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

const largeKey = "large"

// echo makes a unary call of the server of serveEcho.
func echo(ctx context.Context, cc *grpc.ClientConn, message []byte, opts ...grpc.CallOption) ([]byte, error) {
	var reply []byte
	opts = append(opts, grpc.ForceCodecV2(echoCodec{}), grpc.MaxCallSendMsgSize(wsmux.MaxMsgSize), grpc.MaxCallRecvMsgSize(wsmux.MaxMsgSize))
	err := cc.Invoke(ctx, "/honest.Echo/Echo", message, &reply, opts...)
	return reply, err
}

// callLargest sends and receives a message of exactly MaxMsgSize.
func callLargest(t *testing.T, cc *grpc.ClientConn, opts ...grpc.CallOption) {
	t.Helper()
	message := make([]byte, wsmux.MaxMsgSize)
	reply, err := echo(tunneltest.Soon(t), cc, message, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(reply, message) {
		t.Errorf("received %d bytes, want those sent", len(reply))
	}
}

// callLargestTogether makes calls with more memory than a session may have. They must not
// wait for one another without end: each succeeds or fails with RESOURCE_EXHAUSTED.
func callLargestTogether(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	const calls = 6
	ctx, message := tunneltest.Soon(t), make([]byte, wsmux.MaxMsgSize)
	errs := make(chan error, calls)
	for range calls {
		go func() {
			_, err := echo(ctx, cc, message)
			errs <- err
		}()
	}
	succeeded := 0
	for range calls {
		switch err := <-errs; status.Code(err) {
		case codes.OK:
			succeeded++
		case codes.ResourceExhausted:
		default:
			t.Error(err)
		}
	}
	t.Logf("%d of %d calls succeeded", succeeded, calls)
	if succeeded == 0 {
		t.Error("no call succeeded")
	}
}

// callWithMetadata sends and receives header lists just below 1 MiB, and trailers.
func callWithMetadata(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	const others = 2048 // more than the other fields count (RFC 9113 §6.5.2)
	large := strings.Repeat("x", mib-others)
	var header, trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(tunneltest.Soon(t), largeKey, large)
	_, err := echo(ctx, cc, nil, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	for name, md := range map[string]metadata.MD{"header": header, "trailer": trailer} {
		if got := md.Get(largeKey); len(got) != 1 || got[0] != large {
			t.Errorf("the %s has %d values, want the one sent", name, len(got))
		}
	}
}

// manyEchoes has as many calls on one stream as a server allows, all answered once before
// any ends.
func manyEchoes(t *testing.T, p program) {
	t.Helper()
	const calls = 16384
	v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0")
	client := demo.NewHubClient(dialSession(t, v.url()))
	ctx := tunneltest.Soon(t)
	streams := make([]grpc.BidiStreamingClient[demo.EchoRequest, demo.EchoResponse], calls)
	for i := range streams {
		stream, err := client.Echo(ctx)
		if err == nil {
			err = stream.Send(&demo.EchoRequest{Text: "hello"})
		}
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		streams[i] = stream
	}
	for i, stream := range streams {
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	for i, stream := range streams {
		if err := stream.CloseSend(); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Fatalf("call %d ends with %v, want OK", i, err)
		}
	}
}

// manySessions has 10,000 sessions from one address at the same time.
func manySessions(t *testing.T, p program) {
	t.Helper()
	v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0", "--max-sessions", "0")
	many := newPeer(t)
	for i := range manyConns() {
		if _, err := many.dialWebSocket(v.url()); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	if err := callHub(dialSession(t, v.url()))(tunneltest.Soon(t)); err != nil {
		t.Error(err)
	}
}
