// Package proxy passes gRPC calls on to upstream servers without knowing their
// services: any method, all four kinds of RPC, messages as raw bytes.
//
//	u, err := proxy.NewUpstream("127.0.0.1:50051", nil)
//	…
//	defer u.Close()
//	p := proxy.New([]*proxy.Upstream{u})
//	srv := grpc.NewServer(p.ServerOptions()...)
//	reflection.Register(srv) // services of the server itself come first
//	srv.Serve(listener)
//
// What passes unchanged: messages, metadata both ways, response headers as soon
// as the upstream sends them, trailers, the status with its details, deadlines,
// cancellation, half-close, the content-subtype, and the :authority. What does
// not: headers of one hop (content-type, te, user-agent, most of grpc-*), and
// compression, which is gRPC's own on each hop: gzip is known, a call that
// comes compressed goes on compressed, and its response comes back so too.
// Metadata that gRPC does not allow, in key or value, is left out.
//
// A message waits for the receiver of the one before it, so a call holds a
// few messages at most, and flow control reaches from end to end.
//
// Errors: what the upstream says is returned as it is, but for the case that
// [Proxy.SetServices] names. What goes wrong on the way there is Unavailable and
// names the upstream and the cause, such as
// "upstream 127.0.0.1:50051: connection refused".
//
// Lifetimes: the caller closes the upstreams, after the server. All methods
// may be called from any goroutine. The package does not authenticate anyone;
// that is up to the server's listener and interceptors.
package proxy

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// Proxy passes calls on to upstreams.
type Proxy struct {
	upstreams []*Upstream

	routes atomic.Pointer[routes]

	mu     sync.Mutex // guards tables and makes changes of routes one at a time
	tables map[*Upstream][]string
}

// New returns a proxy to upstreams, in the order in which they are asked for a
// service. No upstream's services are known at first, so all calls go to the
// first.
func New(upstreams []*Upstream) *Proxy {
	p := &Proxy{
		upstreams: slices.Clone(upstreams),
		tables:    make(map[*Upstream][]string),
	}
	p.routes.Store(newRoutes(p.upstreams, p.tables))
	return p
}

// ServerOptions returns the options of a server that passes on every call to a
// method that is not registered on it, with [wsmux.MaxMsgSize] as the limit of
// messages both ways. Options that come later override them; another codec or
// handler of unknown services breaks the proxy.
func (p *Proxy) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(serverCodec),
		grpc.UnknownServiceHandler(p.handle),
		grpc.MaxRecvMsgSize(wsmux.MaxMsgSize),
		grpc.MaxSendMsgSize(wsmux.MaxMsgSize),
	}
}

// SetServices says which services an upstream has, instead of what was said
// before; nil means not known. Calls under way are not affected. An upstream
// that the proxy was not made with is ignored.
//
// A call goes to the first upstream that has its service, otherwise to the first
// whose services aren't known, and otherwise to the first of all: what it is known
// to have need not be all. If that says Unimplemented, its text is followed by
// what there is.
func (p *Proxy) SetServices(u *Upstream, services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.upstreams, u) {
		return
	}
	p.tables[u] = slices.Clone(services)
	p.routes.Store(newRoutes(p.upstreams, p.tables))
}

// orDiscard returns logger, or one that drops everything.
func orDiscard(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
