package backend

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	ask "github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// startUpstream starts a server with reflection that answers once gate is closed. It returns its
// address.
func startUpstream(t *testing.T, gate <-chan struct{}, register func(*grpc.Server)) string {
	t.Helper()
	srv := grpc.NewServer(grpc.StreamInterceptor(func(impl any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
			<-gate
		}
		return handler(impl, stream)
	}))
	register(srv)
	reflection.Register(srv)
	l := tunneltest.Listen(t)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		serving.Wait()
	})
	return l.Addr().String()
}

// Until the upstreams have been asked for their services, reflection doesn't answer, and neither do
// calls that would have to guess the upstream.
func TestAnswersWaitForUpstreams(t *testing.T) {
	t.Parallel()
	gate, open := make(chan struct{}), make(chan struct{})
	close(open)
	first := startUpstream(t, open, func(srv *grpc.Server) { grpc_health_v1.RegisterHealthServer(srv, health.NewServer()) })
	second := startUpstream(t, gate, func(srv *grpc.Server) { demo.New().Register(srv) })
	b, err := newProxy(t.Context(), &Options{Upstreams: []string{first, second}}, limit.New(nil), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	dialed, accepted := tunneltest.WebSockets(t)
	client, err := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err != nil {
		t.Fatal(err)
	}
	sessions := &tunnel.Sessions{}
	b.ServeStreams(sessions.Add(server, ""))
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			services, err := ask.FromServer(cc, nil).Services(ctx)
			if err == nil && !slices.Contains(services, demo.Hub_ServiceDesc.ServiceName) {
				t.Errorf("the Hub isn't listed: %v", services)
			}
			return err
		},
		"call": func(ctx context.Context) error {
			_, err := demo.NewHubClient(cc).Sleep(ctx, &demo.SleepRequest{})
			return err
		},
	}
	for name, request := range requests {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := request(ctx); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s before the second upstream was asked: %v, want a wait", name, err)
		}
		cancel()
	}
	close(gate)
	ctx := tunneltest.Soon(t)
	for name, request := range requests {
		if err := request(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_ = cc.Close()
	if err := b.Shutdown(ctx, sessions); err != nil {
		t.Error(err)
	}
	_ = client.Close()
}
