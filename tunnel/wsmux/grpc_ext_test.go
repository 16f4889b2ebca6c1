package wsmux_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// testService echoes the payload. A call with FillUsername blocks until the test closes
// release.
type testService struct {
	testpb.UnimplementedTestServiceServer
	entered chan struct{} // receives a token for each call that blocks
	release chan struct{}
}

func newTestService() *testService {
	return &testService{entered: make(chan struct{}, 100), release: make(chan struct{})}
}

func (s *testService) register(srv *grpc.Server) { testpb.RegisterTestServiceServer(srv, s) }

func (s *testService) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if req.FillUsername {
		s.entered <- struct{}{}
		select {
		case <-s.release:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if req.ResponseSize > 0 {
		return &testpb.SimpleResponse{Payload: &testpb.Payload{Body: make([]byte, req.ResponseSize)}}, nil
	}
	return &testpb.SimpleResponse{Payload: req.Payload}, nil
}

// StreamingOutputCall never stops sending.
func (s *testService) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, 32*1024)}}); err != nil {
			return err
		}
	}
}

// tunnel is a gRPC client and server on a WebSocket.
type tunnel struct {
	service       *testService
	server        *grpc.Server
	serverSession *yamux.Session
	cc            *grpc.ClientConn
	client        testpb.TestServiceClient
	clientSession *yamux.Session
}

func newTunnel(tb testing.TB, clientWS, serverWS *websocket.Conn) *tunnel {
	tb.Helper()
	tun := &tunnel{service: newTestService()}
	var err error
	if tun.server, tun.serverSession, err = wsmux.ServeGRPC(serverWS, tun.service.register); err != nil {
		tb.Fatal(err)
	}
	if tun.cc, tun.clientSession, err = wsmux.DialGRPC(clientWS); err != nil {
		tb.Fatal(err)
	}
	tun.client = testpb.NewTestServiceClient(tun.cc)
	tb.Cleanup(func() {
		tun.server.Stop()
		_ = tun.cc.Close()
		_ = tun.clientSession.Close()
		_ = tun.serverSession.Close()
	})
	return tun
}

// blocking returns a request on which testService blocks.
func blocking() *testpb.SimpleRequest { return &testpb.SimpleRequest{FillUsername: true} }

func body(size int) *testpb.SimpleRequest {
	return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, size)}}
}

func mustCall(t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
	resp, err := c.UnaryCall(t.Context(), body(1000))
	if err != nil || len(resp.GetPayload().GetBody()) != 1000 {
		t.Fatalf("UnaryCall = %d bytes, %v, want 1000", len(resp.GetPayload().GetBody()), err)
	}
}

// wantUnavailable fails the test unless a call fails within a second with Unavailable
// and text.
func wantUnavailable(t *testing.T, c testpb.TestServiceClient, text string) {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		_, err := c.UnaryCall(t.Context(), body(1))
		result <- err
	}()
	err, ok := tunneltest.Within(time.Second, result)
	if !ok {
		t.Errorf("UnaryCall takes more than a second to fail, want milliseconds")
		return
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), text) {
		t.Errorf("UnaryCall = %v, want Unavailable with %q", err, text)
	}
}

func waitClosed(t *testing.T, s *yamux.Session) {
	t.Helper()
	await(t, "the session's end", s.CloseChan())
}

func TestServeAndDialGRPCRefuseNil(t *testing.T) {
	t.Parallel()
	if _, _, err := wsmux.ServeGRPC(nil, func(*grpc.Server) {}); err == nil {
		t.Error("ServeGRPC(nil, …) = nil error")
	}
	if _, _, err := wsmux.ServeGRPC(nil, nil); err == nil {
		t.Error("ServeGRPC(nil, nil) = nil error")
	}
	if _, _, err := wsmux.DialGRPC(nil); err == nil {
		t.Error("DialGRPC(nil) = nil error")
	}
	ws, peer := tunneltest.WebSockets(t)
	if _, _, err := wsmux.ServeGRPC(ws, nil); err == nil {
		t.Error("ServeGRPC(ws, nil) = nil error")
	}
	if _, _, err := peer.ReadMessage(); err == nil {
		t.Error("ServeGRPC(ws, nil) left the WebSocket open")
	}
}

func TestGracefulStopLetsCallsFinish(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	tun := newTunnel(t, dialed, accepted)
	result := make(chan error, 1)
	go func() {
		_, err := tun.client.UnaryCall(t.Context(), blocking())
		result <- err
	}()
	<-tun.service.entered
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tun.server.GracefulStop()
	}()
	// Wait until GracefulStop has begun: then new calls are refused.
	within(t, "refusing new calls", func() {
		for {
			if _, err := tun.client.UnaryCall(t.Context(), body(1)); err != nil {
				return
			}
		}
	})
	select {
	case err := <-result:
		t.Fatalf("the call in flight ended with %v", err)
	case <-tun.serverSession.CloseChan():
		t.Fatal("the session ended with a call in flight")
	default:
	}
	close(tun.service.release)
	if err := <-result; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	within(t, "GracefulStop", func() { <-stopped })
	waitClosed(t, tun.serverSession)
	waitClosed(t, tun.clientSession)
	wantUnavailable(t, tun.client, "going away")
}

func TestGracefulStopAtOnce(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*grpc.Server){"GracefulStop": (*grpc.Server).GracefulStop, "Stop": (*grpc.Server).Stop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tunneltest.WebSockets(t)
			tun := newTunnel(t, dialed, accepted)
			within(t, name, func() { stop(tun.server) })
			waitClosed(t, tun.serverSession)
			waitClosed(t, tun.clientSession)
			wantUnavailable(t, tun.client, "session ended")
		})
	}
}

func TestGracefulStopDoesNotWaitForASilentStream(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	tun := newTunnel(t, dialed, accepted)
	mustCall(t, tun.client)
	silent, err := tun.clientSession.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	mustCall(t, tun.client) // then the server has accepted the stream
	within(t, "GracefulStop", tun.server.GracefulStop)
	waitClosed(t, tun.serverSession)
}

func TestEverythingEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(tun *tunnel, clientWS, serverWS *websocket.Conn)
	}{
		{"Stop", func(tun *tunnel, _, _ *websocket.Conn) { tun.server.Stop() }},
		{"Close of the server's session", func(tun *tunnel, _, _ *websocket.Conn) { _ = tun.serverSession.Close() }},
		{"Close of the client's session", func(tun *tunnel, _, _ *websocket.Conn) { _ = tun.clientSession.Close() }},
		{"Close of the server's WebSocket", func(_ *tunnel, _, ws *websocket.Conn) { _ = ws.Close() }},
		{"Close of the client's WebSocket", func(_ *tunnel, ws, _ *websocket.Conn) { _ = ws.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tunneltest.WebSockets(t)
			tun := newTunnel(t, dialed, accepted)
			result := make(chan error, 1)
			go func() {
				_, err := tun.client.UnaryCall(t.Context(), blocking())
				result <- err
			}()
			<-tun.service.entered
			within(t, tc.name, func() { tc.end(tun, dialed, accepted) })
			if err := await(t, "the end of the call in flight", result); status.Code(err) != codes.Unavailable {
				t.Errorf("the call in flight: %v, want Unavailable", err)
			}
			waitClosed(t, tun.serverSession)
			waitClosed(t, tun.clientSession)
			wantUnavailable(t, tun.client, "session ended")
			if err := tun.server.Serve(listener{}); !errors.Is(err, grpc.ErrServerStopped) {
				within(t, "stopping the server", tun.server.Stop)
			}
		})
	}
}

// listener is a closed listener.
type listener struct{ net.Listener }

func (listener) Close() error              { return nil }
func (listener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (listener) Addr() net.Addr            { return &net.TCPAddr{} }

func TestStopDoesNotWaitForAFrozenPeer(t *testing.T) {
	t.Parallel()
	dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
	tun := newTunnel(t, dialed, accepted)
	flood, err := tun.client.StreamingOutputCall(t.Context(), &testpb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flood.Recv(); err != nil {
		t.Fatal(err)
	}
	relay.Freeze()
	filler, err := tun.serverSession.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(filler, zeros{}) }()
	for accepted.WriteControl(websocket.PongMessage, nil, time.Now().Add(50*time.Millisecond)) == nil {
		continue // until a write blocks on the full socket
	}
	within(t, "Stop", tun.server.Stop)
	waitClosed(t, tun.serverSession)
	relay.Cut()
	if err := drain(flood); status.Code(err) != codes.Unavailable {
		t.Errorf("the call in flight: %v, want Unavailable", err)
	}
}

func drain[T any](stream grpc.ServerStreamingClient[T]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func TestGRPCMessagesUpToTheLimit(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	checkLimit(t, newTunnel(t, dialed, accepted).client)
}

// checkLimit makes calls with messages just under and over MaxMsgSize.
func checkLimit(t *testing.T, client testpb.TestServiceClient) {
	t.Helper()
	const under, over = wsmux.MaxMsgSize - 64, wsmux.MaxMsgSize
	for _, tc := range []struct {
		name string
		req  *testpb.SimpleRequest
		want codes.Code
	}{
		{"response over", &testpb.SimpleRequest{ResponseSize: over}, codes.ResourceExhausted},
		{"request over", body(over), codes.ResourceExhausted},
		{"both just under", body(under), codes.OK},
	} {
		resp, err := client.UnaryCall(t.Context(), tc.req)
		if status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if size := len(resp.GetPayload().GetBody()); err == nil && size != under {
			t.Errorf("%s: response of %d bytes, want %d", tc.name, size, under)
		}
	}
}
