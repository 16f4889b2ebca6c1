package wsmux_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The server tolerates a client that sends HTTP/2 Pings as often as gRPC allows, without
// an RPC. With its default options it would send GOAWAY too_many_pings.
func TestServerToleratesPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(64 << 10)
		srv := grpc.NewServer(wsmux.ServerOptions()...)
		go func() { _ = srv.Serve(l) }() // ends with the server
		defer srv.Stop()
		cc, err := grpc.NewClient("passthrough:///peer",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		cc.Connect()
		for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
			cc.WaitForStateChange(t.Context(), s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if cc.WaitForStateChange(ctx, connectivity.Ready) {
			t.Errorf("the connection is %v within ten minutes of pings", cc.GetState())
		}
	})
}

// The server's SETTINGS limit concurrent calls (RFC 9113 §6.5.2).
func TestServerBoundsCalls(t *testing.T) {
	t.Parallel()
	l := bufconn.Listen(64 << 10)
	srv := grpc.NewServer(wsmux.ServerOptions()...)
	go func() { _ = srv.Serve(l) }() // ends with the server
	defer srv.Stop()
	conn, err := l.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v, %v", frame, err)
	}
	if n, _ := settings.Value(http2.SettingMaxConcurrentStreams); n != 16384 {
		t.Errorf("%d calls at a time, want 16384", n)
	}
}

// authorityService sends the :authority of each call to got.
type authorityService struct {
	testpb.UnimplementedTestServiceServer
	got chan string
}

func (s authorityService) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.got <- md.Get(":authority")[0]
	return &testpb.Empty{}, nil
}

// The :authority is localhost, not the name in the passthrough target, which is made up.
func TestDialGRPCAuthority(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	service := authorityService{got: make(chan string, 1)}
	srv, _, err := wsmux.ServeGRPC(accepted, func(s *grpc.Server) { testpb.RegisterTestServiceServer(s, service) })
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Stop()
	cc, session, err := wsmux.DialGRPC(dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	defer cc.Close()
	if _, err := testpb.NewTestServiceClient(cc).EmptyCall(t.Context(), &testpb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if got := <-service.got; got != "localhost" {
		t.Errorf("authority %q, want localhost", got)
	}
}
