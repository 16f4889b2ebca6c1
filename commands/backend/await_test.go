package backend

import (
	"context"
	"errors"
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
)

// startUpstream starts a server with reflection that answers once gate is closed. It returns its
// address.
func startUpstream(t *testing.T, gate <-chan struct{}, register func(*grpc.Server)) string {
	t.Helper()
	srv := grpc.NewServer(grpc.StreamInterceptor(func(impl any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
			select {
			case <-gate:
			case <-stream.Context().Done():
			}
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

// openGate is that of an upstream whose reflection answers at once.
func openGate() <-chan struct{} {
	gate := make(chan struct{})
	close(gate)
	return gate
}

func registerDemo(srv *grpc.Server) { demo.New().Register(srv) }

// dialProxy returns a client of a backend for upstreams.
func dialProxy(t *testing.T, o *Options) *grpc.ClientConn {
	t.Helper()
	b, err := newProxy(t.Context(), o, limit.New(nil), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	client, server := sessionPair(t, nil)
	sessions := &tunnel.Sessions{}
	b.ServeStreams(sessions.Add(server, ""))
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		if err := b.Shutdown(context.Background(), sessions); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return cc
}

// requests returns requests whose answers depend on an upstream with the demo Hub.
func requests(t *testing.T, cc *grpc.ClientConn) map[string]func(context.Context) error {
	t.Helper()
	return map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			services, err := ask.FromServer(cc, nil).Services(ctx)
			if err == nil && !slices.Contains(services, demo.Hub_ServiceDesc.ServiceName) {
				t.Errorf("the Hub isn't listed: %v", services)
			}
			return err
		},
		"health": func(ctx context.Context) error {
			_, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: demo.Hub_ServiceDesc.ServiceName})
			return err
		},
		"call": func(ctx context.Context) error {
			_, err := demo.NewHubClient(cc).Sleep(ctx, &demo.SleepRequest{})
			return err
		},
	}
}

// mustWait checks that a request isn't answered.
func mustWait(t *testing.T, name string, request func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := request(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%s: %v, want a wait", name, err)
	}
}

// Until the upstreams have been asked for their services, answers that depend on these wait.
func TestAnswersWaitForUpstreams(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]Descriptors{
		"reflection": {},
		"with files": {Protos: []string{"hub.proto"}, ImportPaths: []string{"../demo"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := make(chan struct{})
			first := startUpstream(t, gate, func(srv *grpc.Server) { grpc_health_v1.RegisterHealthServer(srv, health.NewServer()) })
			cc := dialProxy(t, &Options{
				Upstreams: []string{first, startUpstream(t, gate, registerDemo)}, Descriptors: files, askTimeout: tunneltest.Patience,
			})
			all := requests(t, cc)
			if name == "with files" {
				delete(all, "health") // the files have the service
			}
			for name, request := range all {
				mustWait(t, name, request)
			}
			close(gate)
			for name, request := range all {
				if err := request(tunneltest.Soon(t)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// A call doesn't wait for other upstreams than the one that has the service, and without reflection
// no reflection request waits for theirs.
func TestAnswersWaitForNoOtherUpstream(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	cc := dialProxy(t, &Options{
		Upstreams:  []string{startUpstream(t, openGate(), registerDemo), startUpstream(t, never, func(*grpc.Server) {})},
		askTimeout: 2 * tunneltest.Patience, NoReflection: true,
	})
	ctx := tunneltest.Soon(t)
	if err := requests(t, cc)["call"](ctx); err != nil {
		t.Error(err)
	}
	if _, err := ask.FromServer(cc, nil).Services(ctx); !errors.Is(err, ask.ErrNoReflection) {
		t.Errorf("reflection: %v, want %v", err, ask.ErrNoReflection)
	}
}

// Nothing waits for long for an upstream that doesn't answer.
func TestAnswersDontWaitForever(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	cc := dialProxy(t, &Options{
		Upstreams:  []string{startUpstream(t, openGate(), registerDemo), startUpstream(t, never, func(*grpc.Server) {})},
		askTimeout: time.Millisecond,
	})
	ctx := tunneltest.Soon(t)
	if _, err := ask.FromServer(cc, nil).Services(ctx); err != nil {
		t.Error(err)
	}
	if err := cc.Invoke(ctx, "/unknown.Service/Call", &demo.SleepRequest{}, &demo.SleepRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown service: %v, want Unimplemented", err)
	}
}
