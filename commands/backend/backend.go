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
	"maps"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/demo"
	protos "github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Backend serves the streams of all sessions.
type Backend interface {
	// ServeStreams serves the streams that the peer of session opens. It returns at
	// once.
	ServeStreams(session *tunnel.Session)

	// Finders find the types of the messages that it serves. They may ask upstreams.
	Finders() []protos.Finder

	// Calls returns the open calls, in no order.
	Calls() []rpc.Call

	// Ended counts the calls that have ended.
	Ended() *rpc.Counts

	// Reconnect makes the gRPC clients of all sessions open another connection for their
	// next calls, on another stream. No call fails.
	Reconnect()

	// Shutdown lets the calls in flight finish, and shuts the sessions down. It cuts
	// the rest when ctx ends.
	Shutdown(ctx context.Context, sessions *tunnel.Sessions) error
}

// grpcBackend has a gRPC server for each session, with health and channelz.
type grpcBackend struct {
	limits     *limit.Process
	codec      encoding.CodecV2 // nil: protocol buffers
	options    []grpc.ServerOption
	register   func(*limit.Server) // adds the services
	health     *health.Server
	finders    []protos.Finder
	closeFirst func() // called when Shutdown begins

	mu       sync.Mutex
	servers  map[*limit.Server]uint64 // the number of its session
	stopping bool
	serving  sync.WaitGroup
}

// NewDemo returns a backend with the demo Hub.
func NewDemo(limits *limit.Process) Backend {
	hub := demo.New()
	b := &grpcBackend{
		limits: limits,
		health: health.NewServer(),
		register: func(s *limit.Server) {
			hub.Register(s)
			reflection.Register(s)
		},
		finders:    []protos.Finder{protos.FromSet(demoSet())},
		closeFirst: hub.Close, // ends the Watches
	}
	b.health.SetServingStatus(demo.Hub_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return b
}

// demoSet returns the descriptors of the demo Hub.
func demoSet() *protos.Set {
	file := protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
	set, _ := protos.FromFiles(context.Background(), &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	return set
}

func (b *grpcBackend) Finders() []protos.Finder { return b.finders }

// newServer returns a server that nothing serves yet.
func (b *grpcBackend) newServer(limits *limit.Session) *limit.Server {
	codec := b.codec
	if codec == nil {
		codec = encoding.GetCodecV2(proto.Name)
	}
	s := limits.NewServer(codec, slices.Concat(wsmux.ServerOptions(), b.options)...)
	b.register(s)
	if _, ok := s.GetServiceInfo()[grpc_health_v1.Health_ServiceDesc.ServiceName]; !ok {
		grpc_health_v1.RegisterHealthServer(s, b.health)
	}
	channelz.RegisterChannelzServiceToServer(s)
	return s
}

// serviceInfo returns the services of every server.
func (b *grpcBackend) serviceInfo() map[string]grpc.ServiceInfo {
	limits := b.limits.NewSession()
	defer limits.Close()
	s := b.newServer(limits)
	defer s.Stop()
	return s.GetServiceInfo()
}

func (b *grpcBackend) ServeStreams(session *tunnel.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return
	}
	limits := b.limits.NewSession()
	s := b.newServer(limits)
	streams := wsmux.NewListener()
	if b.servers == nil {
		b.servers = make(map[*limit.Server]uint64)
	}
	b.servers[s] = session.ID
	b.serving.Go(func() { _ = s.Serve(streams) }) // until s is stopped
	streams.Add(session.Session)
	b.serving.Go(func() {
		<-session.Done()
		limits.Close() // handlers may wait for memory
		s.Stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.servers, s)
	})
}

func (b *grpcBackend) Calls() (all []rpc.Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, session := range b.servers {
		for _, call := range s.Calls() {
			call.Session = session
			all = append(all, call)
		}
	}
	return all
}

func (b *grpcBackend) Ended() *rpc.Counts { return b.limits.Ended() }

func (b *grpcBackend) Reconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.servers {
		s.Reconnect()
	}
}

func (b *grpcBackend) Shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	b.health.Shutdown()
	b.closeFirst()
	b.mu.Lock()
	b.stopping = true
	servers := slices.Collect(maps.Keys(b.servers))
	b.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range servers {
		stop := context.AfterFunc(ctx, s.Stop)
		defer stop()
		wg.Go(s.GracefulStop)
	}
	err := sessions.Shutdown(ctx)
	wg.Wait()
	b.serving.Wait()
	return err
}

// rawBackend forwards the bytes of each stream to one upstream, unchanged.
type rawBackend struct {
	forwarder *forward.Forwarder
	upstream  *grpc.ClientConn // for its reflection; nil: none
	serving   sync.WaitGroup
}

func newRaw(logger *slog.Logger, dial func(context.Context) (net.Conn, error)) *rawBackend {
	return &rawBackend{forwarder: &forward.Forwarder{Dial: dial, Logger: logger}}
}

func (b *rawBackend) ServeStreams(session *tunnel.Session) {
	b.serving.Go(func() { b.forwarder.ServeStreams(session.Session, session.ID) }) // until the session ends
}

func (b *rawBackend) Finders() []protos.Finder {
	if b.upstream == nil {
		return nil
	}
	return []protos.Finder{protos.FromServer(b.upstream, nil)}
}

func (b *rawBackend) Calls() []rpc.Call { return b.forwarder.Calls() }

func (b *rawBackend) Ended() *rpc.Counts { return b.forwarder.Ended() }

func (b *rawBackend) Reconnect() { b.forwarder.Reconnect() }

func (b *rawBackend) Shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	if b.upstream != nil {
		_ = b.upstream.Close()
	}
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
