// Package backend has the servers of the streams that peers open: a gRPC server with
// the demo Hub, a stub or a proxy to upstreams, or one upstream that receives the
// bytes as they are.
//
//	var opts backend.Options
//	flags := opts.Flags()
//	…
//	b, err := backend.New(ctx, &opts, logger)
//	sessions.Subscribe(tunnel.Subscriber{Up: b.ServeStreams})
//	err = b.Shutdown(ctx, sessions)
package backend

import (
	"context"
	"errors"
	"log/slog"
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

// Backend serves the streams of all sessions.
type Backend interface {
	// ServeStreams serves the streams that the peer of session opens. It returns at
	// once.
	ServeStreams(session *tunnel.Session)

	// Shutdown lets the calls in flight finish, and shuts the sessions down. It cuts
	// the rest when ctx ends.
	Shutdown(ctx context.Context, sessions *tunnel.Sessions) error
}

// grpcBackend is a gRPC server with health and channelz.
type grpcBackend struct {
	grpc       *grpc.Server
	health     *health.Server
	streams    *wsmux.Listener
	serving    sync.WaitGroup
	closeFirst func() // called when Shutdown begins
}

// newGRPC returns a backend with the services that register adds. They may include a
// health service, which then replaces the default one.
func newGRPC(opts []grpc.ServerOption, register func(*grpc.Server, *health.Server), closeFirst func()) *grpcBackend {
	b := &grpcBackend{
		grpc:       grpc.NewServer(opts...),
		health:     health.NewServer(),
		streams:    wsmux.NewListener(),
		closeFirst: closeFirst,
	}
	register(b.grpc, b.health)
	if _, ok := b.grpc.GetServiceInfo()[grpc_health_v1.Health_ServiceDesc.ServiceName]; !ok {
		grpc_health_v1.RegisterHealthServer(b.grpc, b.health)
	}
	channelz.RegisterChannelzServiceToServer(b.grpc)
	b.serving.Go(func() { _ = b.grpc.Serve(b.streams) }) // until the server is stopped
	return b
}

// NewDemo returns a backend with the demo Hub.
func NewDemo() Backend {
	hub := demo.New()
	return newGRPC(wsmux.ServerOptions(), func(s *grpc.Server, h *health.Server) {
		hub.Register(s)
		h.SetServingStatus(demo.Hub_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
		reflection.Register(s)
	}, hub.Close) // ends the Watches
}

func (b *grpcBackend) ServeStreams(session *tunnel.Session) { b.streams.Add(session.Session) }

func (b *grpcBackend) Shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	b.health.Shutdown()
	b.closeFirst()
	stop := context.AfterFunc(ctx, b.grpc.Stop)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(b.grpc.GracefulStop)
	err := sessions.Shutdown(ctx)
	wg.Wait()
	b.serving.Wait()
	return err
}

// rawBackend forwards the bytes of each stream to one upstream, unchanged.
type rawBackend struct {
	forwarder *forward.Forwarder
	serving   sync.WaitGroup
}

func newRaw(logger *slog.Logger, dial func(context.Context) (net.Conn, error)) *rawBackend {
	return &rawBackend{forwarder: &forward.Forwarder{Dial: dial, Logger: logger}}
}

func (b *rawBackend) ServeStreams(session *tunnel.Session) {
	b.serving.Go(func() { b.forwarder.ServeStreams(session.Session) }) // until the session ends
}

func (b *rawBackend) Shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { err = b.forwarder.Shutdown(ctx) })
	serr := sessions.Shutdown(ctx)
	wg.Wait()
	b.serving.Wait()
	return errors.Join(err, serr)
}

// ErrBothClients is the answer of NewRefusal to calls.
var ErrBothClients = errors.New("both ends of the session are gRPC clients: one of them should be wstun serve")

// NewRefusal returns the backend of a gRPC client end: it refuses the calls of a peer
// that is a gRPC client as well, which would wait otherwise. The first one is logged.
func NewRefusal(logger *slog.Logger) Backend {
	var once sync.Once
	return newRaw(logger, func(context.Context) (net.Conn, error) {
		once.Do(func() { logger.Warn("the peer calls", slog.Any("err", ErrBothClients)) })
		return nil, ErrBothClients
	})
}
