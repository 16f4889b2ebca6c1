// Package proxy forwards gRPC calls to upstream servers without knowing their services:
// any method, all four kinds of RPC, messages as raw bytes.
//
//	u, err := proxy.NewUpstream("127.0.0.1:50051", nil)
//	…
//	defer u.Close()
//	p := proxy.New([]*proxy.Upstream{u})
//	srv := grpc.NewServer(p.ServerOptions()...)
//	reflection.Register(srv) // the server's own services take precedence
//	srv.Serve(listener)
//
// The proxy forwards unchanged: messages, metadata both ways, response headers as soon
// as the upstream sends them, trailers, the status with its details, deadlines,
// cancellation, half-close, the content-subtype, and the :authority. It doesn't forward
// hop-by-hop headers (content-type, te, user-agent, most of grpc-*) and metadata with
// keys or values that grpc-go rejects. Each hop compresses separately: requests and
// responses of a call with gzip are compressed on both hops.
//
// A call buffers only a few messages, so flow control works end to end.
//
// Errors: the caller gets the status of the upstream, as at [wsmux.ClientOptions], except
// in the case described at [Proxy.SetServices]. If the upstream can't be reached, the status is Unavailable with
// the upstream and the cause, such as "upstream 127.0.0.1:50051: connection refused".
//
// Lifetimes: the caller closes the upstreams, after the server.
//
// Concurrency: all methods may be called concurrently.
//
// Security: the package does not authenticate callers; use the server's listener or
// interceptors.
package proxy

import (
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// Proxy forwards calls to upstreams.
type Proxy struct {
	upstreams []*Upstream

	routes atomic.Pointer[routes]

	mu     sync.Mutex             // guards tables and serializes changes of routes
	tables map[*Upstream][]string // services of each upstream; nil: unknown
}

// New returns a proxy to upstreams, in order of precedence. Initially the services of all
// upstreams are unknown, so all calls go to the first.
func New(upstreams []*Upstream) *Proxy {
	p := &Proxy{
		upstreams: slices.Clone(upstreams),
		tables:    make(map[*Upstream][]string),
	}
	p.routes.Store(newRoutes(p.upstreams, p.tables))
	return p
}

// ServerOptions returns the options for a server that forwards calls to unregistered
// methods. They limit messages both ways to [wsmux.MaxMsgSize]. Later options override
// them, but must not set a handler of unknown services, or a codec that doesn't wrap [Codec].
func (p *Proxy) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(serverCodec),
		grpc.UnknownServiceHandler(p.handle),
		grpc.MaxRecvMsgSize(wsmux.MaxMsgSize),
		grpc.MaxSendMsgSize(wsmux.MaxMsgSize),
	}
}

// SetServices replaces the services of an upstream; nil means unknown. Calls in flight
// are not affected. SetServices ignores an upstream that wasn't passed to New.
//
// A call goes to the first upstream with its service, or else to the first whose services
// are unknown, or else to the first of all, whose list may be incomplete. If that one
// returns Unimplemented, the proxy appends the services of all upstreams to its message.
func (p *Proxy) SetServices(u *Upstream, services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.upstreams, u) {
		return
	}
	p.tables[u] = slices.Clone(services)
	p.routes.Store(newRoutes(p.upstreams, p.tables))
}
