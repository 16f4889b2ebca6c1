package limit

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// serveSession serves srv on the streams of a session, and returns a client of it.
func serveSession(t *testing.T, srv *Server) *grpc.ClientConn {
	t.Helper()
	dialed, accepted := tunneltest.WebSockets(t)
	client, cerr := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, nil)
	server, serr := wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err := errors.Join(cerr, serr); err != nil {
		t.Fatal(err)
	}
	l := wsmux.NewListener()
	l.Add(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		_ = client.Close()
		_ = server.Close()
		srv.Stop()
		serving.Wait()
	})
	return cc
}

// Calls lists the open calls of unregistered methods and of registered ones, and Ended counts
// them.
func TestCalls(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	srv := s.NewServer(encoding.GetCodecV2(proto.Name), grpc.UnknownServiceHandler(echo))
	h := health.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, h)
	cc := serveSession(t, srv)
	ctx, cancel := context.WithCancel(tunneltest.Soon(t))
	defer cancel()
	echoing := openEcho(ctx, t, cc)
	for range 2 {
		if err := exchange(echoing, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	client := grpc_health_v1.NewHealthClient(cc)
	watching, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watching.Recv(); err != nil {
		t.Fatal(err)
	}
	tunneltest.Eventually(t, "all messages are counted", func() bool {
		n := uint64(0)
		for _, c := range srv.Calls() {
			n += c.Sent + c.Received
		}
		return n == 6
	})
	calls := srv.Calls()
	rpc.Sort(calls)
	for i, want := range []rpc.Call{
		{Method: "/test.Echo/Echo", Stream: 1, Sent: 2, Received: 2},
		{Method: grpc_health_v1.Health_Watch_FullMethodName, Stream: 1, Sent: 1, Received: 1},
	} {
		want.Begun, want.Last = calls[i].Begun, calls[i].Last
		if calls[i] != want || want.Begun.IsZero() || want.Last.Before(want.Begun.Truncate(0)) {
			t.Errorf("%+v, want %+v", calls[i], want)
		}
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "no.Service"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	if err := echoing.CloseSend(); err != nil {
		t.Fatal(err)
	}
	mustEnd(t, s, map[codes.Code]uint64{codes.OK: 1, codes.NotFound: 1})
	cancel()
	mustEnd(t, s, map[codes.Code]uint64{codes.OK: 1, codes.NotFound: 1, rpc.NoStatus: 1})
	if calls := srv.Calls(); len(calls) > 0 {
		t.Errorf("%+v are open", calls)
	}
}

// mustEnd waits until the calls that have ended are as in want.
func mustEnd(t *testing.T, s *Session, want map[codes.Code]uint64) {
	t.Helper()
	tunneltest.Eventually(t, "all calls have ended", func() bool { return maps.Equal(s.process.Ended().Load(), want) })
}

// Refused calls count, too: those beyond a limit, and those of unknown methods.
func TestCallsRefused(t *testing.T) {
	t.Parallel()
	s := New(&Options{SessionHeaderLists: 4 << 10}).NewSession()
	defer s.Close()
	srv := s.NewServer(encoding.GetCodecV2(proto.Name))
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	cc := serveSession(t, srv)
	for method, want := range map[string]string{
		"/a.B/C":                    "unknown service a.B",
		"/grpc.health.v1.Health/No": "unknown method No for service grpc.health.v1.Health",
	} {
		err := cc.Invoke(tunneltest.Soon(t), method, &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
		if status.Code(err) != codes.Unimplemented || status.Convert(err).Message() != want {
			t.Errorf("%s: %v, want %q", method, err, want)
		}
	}
	ctx := metadata.AppendToOutgoingContext(tunneltest.Soon(t), slices.Repeat([]string{"key", "value"}, 200)...)
	if _, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a call with too many headers: %v", err)
	}
	mustEnd(t, s, map[codes.Code]uint64{codes.Unimplemented: 2, codes.ResourceExhausted: 1})
}

func TestStatusCode(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]codes.Code{
		nil: codes.OK, errors.New("any"): codes.Unknown, context.DeadlineExceeded: codes.DeadlineExceeded, status.Error(codes.Aborted, ""): codes.Aborted,
	} {
		if got := statusCode(err); got != want {
			t.Errorf("statusCode(%v) = %v, want %v", err, got, want)
		}
	}
}
