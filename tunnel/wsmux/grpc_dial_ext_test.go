package wsmux_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestDialGRPCOpensOneStreamAtTheFirstCall(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	tun := newTunnel(t, dialed, accepted)
	if n := tun.clientSession.NumStreams(); n != 0 {
		t.Errorf("%d streams before the first call, want none", n)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := tun.client.UnaryCall(t.Context(), blocking()); err != nil {
				t.Errorf("UnaryCall: %v", err)
			}
		})
	}
	for range 100 {
		<-tun.service.entered
	}
	if n := tun.clientSession.NumStreams(); n != 1 {
		t.Errorf("%d streams for 100 calls at the same time, want 1", n)
	}
	close(tun.service.release)
	wg.Wait()
}

func TestDialGRPCReportsWhyTheConnectionWasLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(serverWS *websocket.Conn, relay *tunneltest.Relay)
		want string
	}{
		{"Close frame 1001", func(ws *websocket.Conn, _ *tunneltest.Relay) { sendClose(t, ws, 1001, "") }, "1001"},
		{"Close frame 1011", func(ws *websocket.Conn, _ *tunneltest.Relay) { sendClose(t, ws, 1011, "out of memory") }, "out of memory"},
		{"frozen and cut", func(_ *websocket.Conn, relay *tunneltest.Relay) {
			relay.Freeze()
			relay.Cut()
		}, "session ended: "}, // a reset, or EOF if a write has got the reset
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
			tun := newTunnel(t, dialed, accepted)
			result := make(chan error, 1)
			go func() {
				_, err := tun.client.UnaryCall(t.Context(), blocking())
				result <- err
			}()
			<-tun.service.entered
			tc.end(accepted, relay)
			err := await(t, "the end of the call in flight", result)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the call in flight: %v, want Unavailable with %q", err, tc.want)
			}
			wantUnavailable(t, tun.client, tc.want)
		})
	}
}

func TestDialGRPCReopensALostStream(t *testing.T) {
	t.Parallel()
	clientSession, serverSession := sessions(t)
	conns := make(chan net.Conn, 2)
	srv := grpc.NewServer(wsmux.ServerOptions()...)
	newTestService().register(srv)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(sessionListener{serverSession, conns}) })
	defer wg.Wait()
	defer srv.Stop()
	cc, err := clientSession.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	client := testpb.NewTestServiceClient(cc)
	mustCall(t, client)
	_ = (<-conns).Close()
	within(t, "a call on a new stream", func() {
		for { // the call in flight at the loss may fail
			_, err := client.UnaryCall(t.Context(), body(1))
			if err == nil {
				return
			}
			if status.Code(err) != codes.Unavailable {
				t.Errorf("UnaryCall = %v, want Unavailable", err)
			}
		}
	})
	if len(conns) != 1 {
		t.Errorf("%d streams opened after the loss, want 1", len(conns))
	}
}

// sessionListener accepts the streams of a session and sends them to conns.
type sessionListener struct {
	*wsmux.Session
	conns chan net.Conn
}

func (l sessionListener) Accept() (net.Conn, error) {
	stream, err := l.Session.Accept()
	if err != nil {
		return nil, err
	}
	l.conns <- stream
	return stream, nil
}

func (l sessionListener) Addr() net.Addr { return l.LocalAddr() }
