package backend

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/proxy"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// All backends list their open calls, with their sessions and streams, and count those that
// have ended.
func TestCalls(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	u, err := proxy.NewUpstream(l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	for name, b := range map[string]Backend{
		"demo": NewDemo(limit.New(nil)),
		"raw": newRaw(slog.New(slog.DiscardHandler), func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}),
		"upstream": &grpcBackend{
			limits: limit.New(nil), codec: proxy.Codec, options: proxy.New([]*proxy.Upstream{u}).ServerOptions(), health: health.NewServer(),
			register: func(*limit.Server) {}, closeFirst: func() {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCalls(t, b)
		})
	}
}

func testCalls(t *testing.T, b Backend) {
	t.Helper()
	client, server := sessionPair(t, nil)
	b.ServeStreams(&tunnel.Session{Session: server, ID: 3})
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tunneltest.Soon(t))
	defer cancel()
	watching, err := grpc_health_v1.NewHealthClient(cc).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watching.Recv(); err != nil {
		t.Fatal(err)
	}
	want := rpc.Call{Method: grpc_health_v1.Health_Watch_FullMethodName, Session: 3, Stream: 1, Sent: 1, Received: 1}
	tunneltest.Eventually(t, "the call is listed", func() bool {
		calls := b.Calls()
		if len(calls) != 1 {
			return false
		}
		want.Begun, want.Last = calls[0].Begun, calls[0].Last
		return calls[0] == want && !want.Last.IsZero()
	})
	cancel()
	tunneltest.Eventually(t, "its end is counted", func() bool {
		return len(b.Calls()) == 0 && maps.Equal(b.Ended().Load(), map[codes.Code]uint64{rpc.NoStatus: 1})
	})
	_ = cc.Close()
	_ = client.Close()
	_ = b.Shutdown(tunneltest.Ended(), &tunnel.Sessions{})
}
