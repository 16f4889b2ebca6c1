package limit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// count returns the number of bytes that count.
func count(s *Session) int64 {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	return s.messages
}

// mustReleaseAll waits until nothing counts.
func mustReleaseAll(t *testing.T, s *Session) {
	t.Helper()
	tunneltest.Eventually(t, "all memory is released", func() bool {
		s.process.mu.Lock()
		defer s.process.mu.Unlock()
		return s.messages == 0 && s.headers == 0 && s.blocks == 0 && len(s.calls) == 0
	})
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	if s.unread != [uses]unread{} || len(s.process.waiting)+len(s.process.stalled)+len(s.arrived) > 0 {
		t.Errorf("unread %v, arrived %v, waiting %v, stalled %v", s.unread, s.arrived, s.process.waiting, s.process.stalled)
	}
}

// echo echoes messages.
func echo(_ any, stream grpc.ServerStream) error {
	for {
		m := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

// serveEcho serves echo for s until t ends.
func serveEcho(t *testing.T, s *Session) (addr string) {
	t.Helper()
	return serve(t, s, echo)
}

// serve serves the health service, and handler for all other calls.
func serve(t *testing.T, s *Session, handler grpc.StreamHandler) (addr string) {
	t.Helper()
	l := tunneltest.Listen(t)
	srv := s.NewServer(encoding.GetCodecV2(proto.Name), grpc.UnknownServiceHandler(handler))
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return l.Addr().String()
}

// dial returns a client without limits.
func dial(t *testing.T, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// openEcho starts a call of echo.
func openEcho(ctx context.Context, t *testing.T, cc *grpc.ClientConn, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Echo", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// exchange sends a message and receives its echo.
func exchange(stream grpc.ClientStream, message []byte) error {
	if err := stream.SendMsg(wrapperspb.Bytes(message)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	reply := new(wrapperspb.BytesValue)
	if err := stream.RecvMsg(reply); err != nil {
		return err
	}
	if !bytes.Equal(reply.Value, message) {
		return fmt.Errorf("received %d bytes, want the %d sent", len(reply.Value), len(message))
	}
	return nil
}

// together calls f with 0 to n-1 at the same time.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(i) }()
	}
	for range n {
		if err := tunneltest.Await(t, "all calls end", errs); err != nil {
			t.Error(err)
		}
	}
}

// random returns n bytes that can't be compressed.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// Messages of the largest size all pass, even if many more are on their way than fit.
func TestLargestMessages(t *testing.T) {
	t.Parallel()
	for name, message := range map[string][]byte{"compressible": make([]byte, mib/2-8), "random": random(mib/2 - 16<<10)} {
		for _, encoding := range []string{"identity", gzip.Name} {
			t.Run(name+", "+encoding, func(t *testing.T) {
				t.Parallel()
				s := New(&Options{SessionMemory: 2 * mib}).NewSession()
				defer s.Close()
				cc := dial(t, serveEcho(t, s))
				together(t, 10, func(int) error {
					stream := openEcho(tunneltest.Soon(t), t, cc, grpc.UseCompressor(encoding))
					for range 2 {
						if err := exchange(stream, message); err != nil {
							return err
						}
					}
					return stream.CloseSend()
				})
				cc.Close()
				mustReleaseAll(t, s)
			})
		}
	}
}

// More compressed messages than are decompressed at a time all pass.
func TestManyCompressedMessages(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	cc := dial(t, serveEcho(t, s))
	together(t, 4*maxDecompressors, func(int) error {
		stream := openEcho(tunneltest.Soon(t), t, cc, grpc.UseCompressor(gzip.Name))
		if err := exchange(stream, make([]byte, 4*unreserved)); err != nil {
			return err
		}
		return stream.CloseSend()
	})
	cc.Close()
	mustReleaseAll(t, s)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	cc := dial(t, serveEcho(t, s))
	for _, encoding := range []string{"identity", gzip.Name} {
		err := exchange(openEcho(tunneltest.Soon(t), t, cc, grpc.UseCompressor(encoding)), make([]byte, 4*mib))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "4194304") {
			t.Errorf("%s: %v", encoding, err)
		}
	}
	cc.Close()
	mustReleaseAll(t, s)
}

// Small messages that the handler has received at once don't count, although grpc-go
// hasn't given credit for all of them.
func TestManySmallMessages(t *testing.T) {
	t.Parallel()
	const streams, messages, size = 200, 60, 1000
	for name, dialEcho := range map[string]func(t *testing.T, s *Session) *grpc.ClientConn{
		"server": func(t *testing.T, s *Session) *grpc.ClientConn {
			t.Helper()
			return dial(t, serveEcho(t, s))
		},
		"client": func(t *testing.T, s *Session) *grpc.ClientConn {
			t.Helper()
			return dial(t, serveEcho(t, New(nil).NewSession()), append(s.ClientOptions(),
				grpc.WithTransportCredentials(s.ClientCredentials(insecure.NewCredentials())),
				grpc.WithDefaultCallOptions(grpc.ForceCodecV2(s.ClientCodec(encoding.GetCodecV2(proto.Name)))))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(&Options{SessionMemory: 4 * mib}).NewSession()
			defer s.Close()
			cc := dialEcho(t, s)
			calls := make([]grpc.ClientStream, streams)
			for i := range calls {
				calls[i] = openEcho(tunneltest.Soon(t), t, cc)
			}
			together(t, streams, func(i int) error {
				for range messages {
					if err := exchange(calls[i], make([]byte, size)); err != nil {
						return err
					}
				}
				return nil
			})
			cc.Close()
			mustReleaseAll(t, s)
		})
	}
}

// While clients take no responses, a session takes no more than its memory.
func TestResponsesNotTaken(t *testing.T) {
	t.Parallel()
	for name, message := range map[string][]byte{"large": random(mib / 2), "small": random(3000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, 64*mib)
			cc := dial(t, serveEcho(t, s), grpc.WithStaticStreamWindowSize(64<<10))
			ctx, cancel := context.WithCancel(tunneltest.Soon(t))
			var sending sync.WaitGroup
			for range 60 {
				stream := openEcho(ctx, t, cc, grpc.UseCompressor(gzip.Name))
				sending.Go(func() {
					for range 1000 {
						if stream.SendMsg(wrapperspb.Bytes(message)) != nil {
							return
						}
					}
				})
			}
			const most = 16*mib + 2*maxConnWindow // buffers may be larger than frames
			tunneltest.Eventually(t, "handlers wait", func() bool {
				if n := count(s); n > most {
					t.Fatalf("%d bytes count, want at most %d", n, most)
				}
				s.process.mu.Lock()
				defer s.process.mu.Unlock()
				return len(s.process.waiting) > 0 || len(s.process.stalled) > 0
			})
			cancel()
			sending.Wait()
			cc.Close()
			mustReleaseAll(t, s)
		})
	}
}

func TestHeaderLists(t *testing.T) {
	t.Parallel()
	s := New(&Options{HeaderList: 64 << 10, SessionHeaderLists: 100 << 10}).NewSession()
	defer s.Close()
	cc := dial(t, serveEcho(t, s))
	ctx := metadata.AppendToOutgoingContext(tunneltest.Soon(t), "large", strings.Repeat("x", 60<<10))
	first := openEcho(ctx, t, cc)
	if err := exchange(first, nil); err != nil {
		t.Fatal(err)
	}
	err := exchange(openEcho(ctx, t, cc), nil)
	if want := "wstun: the headers of this session's open calls have more than 102400 bytes"; status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != want {
		t.Errorf("a second call = %v, want %s", err, want)
	}
	if err := first.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := first.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	tunneltest.Eventually(t, "another call passes", func() bool { return exchange(openEcho(ctx, t, cc), nil) == nil })
	cc.Close()
	mustReleaseAll(t, s)
}

func TestMaxCalls(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	for range maxCalls {
		if err := s.addCall(&admission{size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.addCall(&admission{size: 1}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more = %v", err)
	}
}

// The end of a connection releases everything at any time.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	addr := serveEcho(t, s)
	for i := range 6 {
		cc := dial(t, addr)
		ctx, cancel := context.WithCancel(tunneltest.Soon(t))
		var sending sync.WaitGroup
		message := wrapperspb.Bytes(random(1000 << (2 * i)))
		for range 4 {
			stream := openEcho(ctx, t, cc, grpc.UseCompressor([]string{"identity", gzip.Name}[i%2]))
			sending.Go(func() {
				for stream.SendMsg(message) == nil {
				}
			})
		}
		tunneltest.Eventually(t, "messages are on their way", func() bool { return count(s) > 0 })
		cc.Close()
		cancel()
		sending.Wait()
	}
	mustReleaseAll(t, s)
}
