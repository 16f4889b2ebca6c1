package limit

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A message is 1000 bytes with its prefix.
var message1000 = append([]byte{0, 0, 0, 995 >> 8, 995 & 0xff}, make([]byte, 995)...)

// Only the messages of a stream that the handler hasn't received count, even if it never
// catches up.
func TestLateHandler(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]use{"server": receiving, "client": answering} {
		s := newSession(t, 64*mib)
		f := newFlow(s, u, func([]byte) {}, func([]byte) { t.Errorf("%s: aborted", name) })
		f.open(1)
		const late, messages = 30, 10_000
		for i := range messages {
			f.receivedFrame(1, 1000)
			f.receivedData(1, message1000)
			f.mayGive(0, 1000)
			if i < late {
				continue
			}
			if u == receiving {
				f.beginRead(1)
				f.endRead(1)
			}
			if i%20 == 0 {
				f.mayGive(1, 20_000)
			}
		}
		if n := count(s); n < 10_000 || n > 3*late*1000 {
			t.Errorf("%s: %d bytes count for %d messages", name, n, late)
		}
		f.end(1)
		mustBe(t, s, 0)
	}
}

// Messages that are a little larger than a stream's window pass a stalled connection.
func TestMessagesLargerThanWindow(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	received := make(chan struct{})
	addr := serve(t, s, func(_ any, stream grpc.ServerStream) error {
		select {
		case <-received:
		case <-stream.Context().Done():
		}
		m := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(m); err != nil {
			return err
		}
		return stream.SendMsg(m)
	})
	cc := dial(t, addr)
	ctx, cancel := context.WithCancel(tunneltest.Soon(t))
	defer cancel()
	var sending sync.WaitGroup
	errs := make(chan error, 60)
	for range cap(errs) {
		stream := openEcho(ctx, t, cc)
		sending.Go(func() { errs <- exchange(stream, make([]byte, firstWindow+1000)) })
	}
	tunneltest.Eventually(t, "the connection is stalled", func() bool {
		s.process.mu.Lock()
		defer s.process.mu.Unlock()
		return s.unread[receiving].waiting() > s.limit/8
	})
	close(received)
	for range cap(errs) {
		if err := tunneltest.Await(t, "all calls end", errs); err != nil {
			t.Error(err)
		}
	}
	cancel()
	sending.Wait()
	cc.Close()
	mustReleaseAll(t, s)
}

// A second message on a unary call is an error, and releases its memory.
func TestUnaryCallWithTwoMessages(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	cc := dial(t, serveEcho(t, s))
	stream, err := cc.NewStream(tunneltest.Soon(t), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, grpc_health_v1.Health_Check_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_ = stream.SendMsg(&grpc_health_v1.HealthCheckRequest{Service: string(make([]byte, 60_000))})
	}
	_ = stream.CloseSend()
	if err := stream.RecvMsg(new(grpc_health_v1.HealthCheckResponse)); status.Code(err) != codes.Internal {
		t.Errorf("two messages: %v", err)
	}
	cc.Close()
	mustReleaseAll(t, s)
}

// A connection that exceeds its window is closed.
func TestWindowExceeded(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	f := newFlow(newSession(t, 64*mib), receiving, func([]byte) {}, func([]byte) { close(closed) })
	f.open(1)
	for range firstWindow/16_384 + 1 {
		f.receivedFrame(1, 16_384)
	}
	tunneltest.Await(t, "the connection is closed", closed)
	if !f.isClosed() {
		t.Error("not closed")
	}
}

// rawClient is an HTTP/2 client that follows no rules.
type rawClient struct {
	net.Conn
	*http2.Framer
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	conn := tunneltest.DialTCP(t, addr)
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(tunneltest.Patience)); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{conn, http2.NewFramer(conn, conn)}
	tunneltest.Write(t, conn, http2.ClientPreface)
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens a stream.
func (c *rawClient) open(id uint32) error {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/test.Echo/Echo"}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a Buffer has no errors
	}
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
}

// Many incomplete messages end their connection, and a client learns why.
func TestIncompleteMessages(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"large frames": 10_000, "small frames": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, 64*mib)
			c := dialRaw(t, serveEcho(t, s))
			credit := make(chan int, 1000)
			go func() {
				window := firstWindow
				for id := uint32(1); c.open(id) == nil; id += 2 {
					p := []byte{0, 0, 0, 0xff, 0xf0}
					for left := 60_000; left > 0; left -= size {
						for ok := true; ok && window < size; {
							var n int
							n, ok = <-credit
							window += n
						}
						window -= size
						if c.WriteData(id, false, append(p, make([]byte, size-len(p))...)) != nil {
							return
						}
						p = nil
					}
				}
			}()
			refused := false
			for {
				frame, err := c.ReadFrame()
				if err != nil {
					close(credit)
					break
				}
				if update, ok := frame.(*http2.WindowUpdateFrame); ok && update.StreamID == 0 {
					credit <- int(update.Increment)
				}
				reset, ok := frame.(*http2.RSTStreamFrame)
				refused = refused || ok && reset.ErrCode == http2.ErrCodeEnhanceYourCalm
			}
			if !refused {
				t.Error("the connection ends without ENHANCE_YOUR_CALM")
			}
			mustReleaseAll(t, s)
		})
	}
}
