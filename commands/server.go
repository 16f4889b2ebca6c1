package commands

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// backend is what stands behind the streams of all sessions.
type backend interface {
	// serveStreams serves what a session's peer opens.
	serveStreams(session *tunnel.Session)

	// shutdown lets the calls in flight finish, or cuts them when ctx ends,
	// and takes the sessions down with them.
	shutdown(ctx context.Context, sessions *tunnel.Sessions) error
}

// grpcBackend is a gRPC server with what belongs beside a service: health and
// channelz.
type grpcBackend struct {
	grpc    *grpc.Server
	health  *health.Server
	streams *wsmux.Listener
	serving sync.WaitGroup
	close   func() // called first when shutting down
}

// newGRPCBackend returns a backend that serves what register adds, which may be a
// health service in place of this one. close is called when it begins to shut down.
func newGRPCBackend(opts []grpc.ServerOption, register func(*grpc.Server, *health.Server), closeFirst func()) *grpcBackend {
	b := &grpcBackend{
		grpc:    grpc.NewServer(opts...),
		health:  health.NewServer(),
		streams: wsmux.NewListener(),
		close:   closeFirst,
	}
	register(b.grpc, b.health)
	if _, ok := b.grpc.GetServiceInfo()[grpc_health_v1.Health_ServiceDesc.ServiceName]; !ok {
		grpc_health_v1.RegisterHealthServer(b.grpc, b.health)
	}
	channelz.RegisterChannelzServiceToServer(b.grpc)
	b.serving.Go(func() { _ = b.grpc.Serve(b.streams) }) // ends with the server
	return b
}

// newDemoBackend serves the demo Hub.
func newDemoBackend() *grpcBackend {
	hub := demo.New()
	return newGRPCBackend(wsmux.ServerOptions(), func(s *grpc.Server, h *health.Server) {
		hub.Register(s)
		h.SetServingStatus(demo.Hub_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
		reflection.Register(s)
	}, hub.Close) // Watches would go on for ever
}

func (b *grpcBackend) serveStreams(session *tunnel.Session) { b.streams.Add(session.Session) }

func (b *grpcBackend) shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	b.health.Shutdown()
	b.close()
	stop := context.AfterFunc(ctx, b.grpc.Stop)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(b.grpc.GracefulStop)
	err := sessions.Shutdown(ctx)
	wg.Wait()
	b.serving.Wait()
	return err
}

// rawBackend pipes the bytes of each stream to one upstream, unchanged.
type rawBackend struct {
	forwarder *forward.Forwarder
	serving   sync.WaitGroup
}

func newRawBackend(out *output, dial func(context.Context) (net.Conn, error)) *rawBackend {
	return &rawBackend{forwarder: &forward.Forwarder{Dial: dial, Logger: out.logger}}
}

func (b *rawBackend) serveStreams(session *tunnel.Session) {
	b.serving.Go(func() { b.forwarder.ServeStreams(session.Session) }) // ends with the session
}

func (b *rawBackend) shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { err = b.forwarder.Shutdown(ctx) })
	serr := sessions.Shutdown(ctx)
	wg.Wait()
	b.serving.Wait()
	return errors.Join(err, serr)
}
