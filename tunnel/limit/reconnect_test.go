package limit

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Clients under load move to other connections, no call fails, and open calls go on.
func TestReconnect(t *testing.T) {
	t.Parallel()
	s := New(nil).NewSession()
	defer s.Close()
	l := tunneltest.Listen(t)
	srv := s.NewServer(encoding.GetCodecV2(proto.Name), grpc.UnknownServiceHandler(echo))
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	defer serving.Wait()
	defer srv.Stop()
	dials := make(chan struct{}, 1000)
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			dials <- struct{}{}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx := tunneltest.Soon(t)
	watch, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Watch")
	if err != nil {
		t.Fatal(err)
	}
	message := wrapperspb.Bytes(make([]byte, 10_000))
	if err := watch.SendMsg(message); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				if err := cc.Invoke(ctx, "/test.Echo/Echo", message, new(wrapperspb.BytesValue)); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	tunneltest.Await(t, "the first connection", dials)
	for range 20 {
		for len(dials) == 0 && ctx.Err() == nil {
			srv.Reconnect()
			_ = cc.Invoke(ctx, "/test.Echo/Echo", message, new(wrapperspb.BytesValue))
		}
		<-dials
	}
	close(stop)
	callers.Wait()
	if err := watch.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := watch.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.OK {
		t.Errorf("the call that was open = %v", err)
	}
	tunneltest.Eventually(t, "the connections are forgotten", func() bool {
		s.process.mu.Lock()
		defer s.process.mu.Unlock()
		return len(s.conns) <= 2
	})
}

// written is a net.Conn that keeps the bytes of Write.
type written struct {
	net.Conn
	bytes.Buffer
}

func (w *written) Read(p []byte) (int, error)  { return w.Buffer.Read(p) }
func (w *written) Write(p []byte) (int, error) { return w.Buffer.Write(p) }
func (w *written) Close() error                { return nil }

// A GOAWAY follows the server's preface, and isn't between the frames of a header block.
func TestReconnectBoundary(t *testing.T) {
	t.Parallel()
	s := New(nil).NewSession()
	defer s.Close()
	var frames bytes.Buffer
	f := http2.NewFramer(&frames, nil)
	_ = f.WriteSettings()
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}})
	_ = f.WriteContinuation(1, true, []byte{0x88})
	first := http2.FrameHeader{}
	for at := range frames.Len() {
		w := &written{}
		c := newConn(w, s, false)
		_, _ = c.Write(frames.Bytes()[:at])
		c.sendCredit(goAway())
		_, _ = c.Write(frames.Bytes()[at:])
		_ = c.Close()
		goAways := 0
		r := http2.NewFramer(nil, w)
		for i := 0; ; i++ {
			frame, err := r.ReadFrame()
			if err != nil {
				break
			}
			if i == 0 {
				first = frame.Header()
			}
			if frame.Header().Type == http2.FrameGoAway {
				goAways++
			}
		}
		if first.Type != http2.FrameSettings || goAways != 1 {
			t.Errorf("after %d bytes: the first frame is %v, and there are %d GOAWAYs", at, first, goAways)
		}
	}
}
