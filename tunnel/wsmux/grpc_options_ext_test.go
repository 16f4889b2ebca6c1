package wsmux_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
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

// metadataService answers with as much metadata as a request asks for.
type metadataService struct {
	testpb.UnimplementedTestServiceServer
}

func (metadataService) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{}, grpc.SetTrailer(ctx, large(int(req.GetResponseSize())))
}

// large returns metadata of a size in the sense of RFC 9113 §6.5.2.
func large(size int) metadata.MD {
	const name, overhead = "large", 32
	return metadata.Pairs(name, strings.Repeat("x", size-len(name)-overhead))
}

// dialService serves service with ServeGRPC until t ends, and returns a client of DialGRPC.
func dialService(t *testing.T, service testpb.TestServiceServer) testpb.TestServiceClient {
	t.Helper()
	dialed, accepted := tunneltest.WebSockets(t)
	srv, _, err := wsmux.ServeGRPC(accepted, func(s *grpc.Server) { testpb.RegisterTestServiceServer(s, service) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	cc, session, err := wsmux.DialGRPC(dialed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	t.Cleanup(func() { cc.Close() })
	return testpb.NewTestServiceClient(cc)
}

func TestMetadataIsBounded(t *testing.T) {
	t.Parallel()
	client := dialService(t, metadataService{})
	const most, tooMuch = wsmux.MaxMetadata, wsmux.MaxMetadata + 65*1024
	for _, tc := range []struct {
		name         string
		sent, answer int
		want         string // a part of the error; "": none
	}{
		{"as much as allowed", most, most, ""},
		{"a larger request", tooMuch, 100, "header list size to send violates the maximum size (1114112 bytes) set by server"},
		{"a larger response", 100, tooMuch, "stream terminated by RST_STREAM"}, // grpc-go's server obeys the client's SETTINGS
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), large(tc.sent))
		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: int32(tc.answer)})
		if err == nil && tc.want == "" {
			continue
		}
		if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want Internal: %s", tc.name, err, tc.want)
		}
	}
}

// A response whose header list is longer than the client has announced ends the call at
// once, with the limit, even if the server keeps the call open.
func TestClientNamesTheLimitOfMetadata(t *testing.T) {
	t.Parallel()
	unary := func(ctx context.Context, c testpb.TestServiceClient) error {
		_, err := c.EmptyCall(ctx, &testpb.Empty{})
		return err
	}
	stream := func(ctx context.Context, c testpb.TestServiceClient) error {
		stream, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for _, tc := range []struct {
		values []int // their sizes
		code   codes.Code
		want   string // the end of the message
	}{
		{[]int{600 * 1024, 600 * 1024}, codes.Internal, "the response has more than 1048576 bytes of metadata"},
		{slices.Repeat([]int{600 * 1024}, 8), codes.Unavailable, "or a response with more than 1048576 bytes of metadata"},
		{[]int{2 * wsmux.MaxMetadata}, codes.Unavailable, "or a response with more than 1048576 bytes of metadata"},
	} {
		for name, call := range map[string]func(context.Context, testpb.TestServiceClient) error{"unary": unary, "stream": stream} {
			err := call(t.Context(), testpb.NewTestServiceClient(dialHeaders(t, tc.values)))
			if status.Code(err) != tc.code || !strings.HasSuffix(status.Convert(err).Message(), tc.want) {
				t.Errorf("%s with %d: %v, want %v: … %s", name, tc.values, err, tc.code, tc.want)
			}
		}
	}
}

// dialHeaders returns a client of a server that begins a response with values of these
// sizes, ignores the client's limit, and doesn't end the response.
func dialHeaders(t *testing.T, values []int) *grpc.ClientConn {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		for _, size := range values {
			w.Header().Add("Large", large(size)["large"][0])
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	l := tunneltest.Listen(t)
	go func() { _ = srv.Serve(l) }() // ends with the server
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(),
		wsmux.ClientOptions(insecure.NewCredentials(), nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		_ = srv.Close()
	})
	return cc
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
	service := authorityService{got: make(chan string, 1)}
	if _, err := dialService(t, service).EmptyCall(t.Context(), &testpb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if got := <-service.got; got != "localhost" {
		t.Errorf("authority %q, want localhost", got)
	}
}
