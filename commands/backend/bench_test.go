package backend

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/proxy"
)

// BenchmarkUpstream is a unary call through a session to an upstream over TCP,
// proxied and raw, and one to the same server without a session.
func BenchmarkUpstream(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	upstream := grpc.NewServer()
	demo.New().Register(upstream)
	go upstream.Serve(l)
	defer upstream.Stop()

	b.Run("direct", func(b *testing.B) {
		u := newUpstream(b, addr)
		benchCalls(b, u.Conn())
	})
	b.Run("proxied", func(b *testing.B) {
		u := newUpstream(b, addr)
		p := proxy.New([]*proxy.Upstream{u})
		benchBackend(b, &grpcBackend{
			limits: limit.New(nil), codec: proxy.Codec, options: p.ServerOptions(), health: health.NewServer(),
			register: func(*limit.Server) {}, closeFirst: func() {},
		})
	})
	b.Run("raw", func(b *testing.B) {
		benchBackend(b, newRaw(slog.New(slog.DiscardHandler), func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}))
	})
}

func newUpstream(b *testing.B, addr string) *proxy.Upstream {
	b.Helper()
	u, err := proxy.NewUpstream(addr, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { u.Close() })
	return u
}

// benchBackend calls through a session whose streams backend serves.
func benchBackend(b *testing.B, backend Backend) {
	b.Helper()
	client, server := sessionPair(b, nil)
	backend.ServeStreams(&tunnel.Session{Session: server})
	cc, err := client.DialGRPC()
	if err != nil {
		b.Fatal(err)
	}
	benchCalls(b, cc)
	_ = cc.Close()
	_ = client.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = backend.Shutdown(ended, &tunnel.Sessions{})
}

func benchCalls(b *testing.B, cc grpc.ClientConnInterface) {
	b.Helper()
	hub := demo.NewHubClient(cc)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hub.Sleep(b.Context(), &demo.SleepRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}
