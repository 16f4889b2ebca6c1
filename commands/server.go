package commands

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// server is the demo Hub with what belongs beside a service: reflection (v1
// and v1alpha), health and channelz. It serves all sessions.
type server struct {
	grpc    *grpc.Server
	hub     *demo.Hub
	health  *health.Server
	streams *wsmux.Listener
	serving sync.WaitGroup
}

// newServer returns a server that is serving the streams added to it.
func newServer() *server {
	s := &server{
		grpc:    grpc.NewServer(wsmux.ServerOptions()...),
		hub:     demo.New(),
		health:  health.NewServer(),
		streams: wsmux.NewListener(),
	}
	s.hub.Register(s.grpc)
	s.health.SetServingStatus(demo.Hub_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	channelz.RegisterChannelzServiceToServer(s.grpc)
	reflection.Register(s.grpc)
	s.serving.Go(func() { _ = s.grpc.Serve(s.streams) }) // ends with the server
	return s
}

// serveStreams serves what a session's peer opens.
func (s *server) serveStreams(session *tunnel.Session) { s.streams.Add(session.Session) }

// shutdown lets the calls in flight finish, or cuts them when ctx ends, and
// takes the sessions down with them. Watches are told to end: they would go on
// for ever.
func (s *server) shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	s.health.Shutdown()
	s.hub.Close()
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(s.grpc.GracefulStop)
	err := sessions.Shutdown(ctx)
	wg.Wait()
	s.serving.Wait()
	return err
}
