package backend

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The peer's client opens another stream for its next calls, and no call fails.
func TestReconnect(t *testing.T) {
	t.Parallel()
	demo := NewDemo(limit.New(nil))
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, nil)
	raw := newRaw(slog.New(slog.DiscardHandler), func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
	})
	for name, b := range map[string]Backend{"demo": demo, "raw": raw} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var streams atomic.Int64
			client, server := sessionPair(t, &wsmux.Options{
				Observe: func(uint32, bool) *mux.StreamObserver { streams.Add(1); return nil },
			})
			sessions := &tunnel.Sessions{}
			b.ServeStreams(sessions.Add(server, ""))
			cc, err := client.DialGRPC()
			if err != nil {
				t.Fatal(err)
			}
			ctx := tunneltest.Soon(t)
			call := func() {
				t.Helper()
				var err error
				if name == "raw" {
					err = tunneltest.Call(ctx, cc, "hello")
				} else {
					_, err = grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			call()
			for n := range int64(5) {
				b.Reconnect()
				for streams.Load() < n+2 {
					call()
				}
			}
			_ = cc.Close()
			if err := b.Shutdown(ctx, sessions); err != nil {
				t.Error(err)
			}
			_ = client.Close()
		})
	}
}
