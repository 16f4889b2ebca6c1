// Package check probes the way to a gRPC service behind a WebSocket, layer by
// layer, and names the first that fails.
//
//	err := check.Run(ctx, "wss://worker.example/v1/ws/sync", nil, func(r check.Result) {
//		fmt.Println(r.Layer, r.Err == nil, r.Took, r.Detail)
//	})
//
// It dials a session of its own, as package tunnel does, and opens one stream on
// it. What it asks for changes nothing at the peer: a WebSocket Ping, yamux Pings,
// the HTTP/2 preface, the health service's Check and the reflection service's list.
// Whatever comes of that, the session ends in order: with a GoAway and a Close
// frame of status code 1000, where the connection still allows it.
//
// Nothing of what a peer sends is trusted: details are one line without control
// characters, and a bounded part of what arrives is kept.
package check

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Layer is one of the layers between here and the service.
type Layer string

// The layers, in the order in which they are probed. Those that don't apply are
// left out: DNS for an address, Proxy without one, TLS for ws.
const (
	DNS        Layer = "dns"        // the name's addresses: the proxy's name if there is one
	TCP        Layer = "tcp"        // a connection to the host, or to the proxy
	Proxy      Layer = "proxy"      // its connection to the host
	TLS        Layer = "tls"        // version, certificates, expiry
	WebSocket  Layer = "websocket"  // the HTTP upgrade
	Ping       Layer = "ping"       // WebSocket Ping and Pong
	Yamux      Layer = "yamux"      // Ping, roles, and a stream that the peer accepts
	HTTP2      Layer = "http2"      // preface and SETTINGS
	Health     Layer = "health"     // grpc.health.v1.Health/Check
	Reflection Layer = "reflection" // the list of services
)

// Layers returns all layers in order.
func Layers() []Layer {
	return []Layer{DNS, TCP, Proxy, TLS, WebSocket, Ping, Yamux, HTTP2, Health, Reflection}
}

// Result is what probing one layer has shown.
type Result struct {
	Layer  Layer
	Took   time.Duration
	Detail string // what was found, or what failed
	Hint   string // what to do about it; empty if there is nothing, or nothing that is known here
	Err    error  // why the layer failed; nil if it didn't
	Note   bool   // it works, and there is something to know, such as an expiry soon
}

// Options adjusts Run. Its zero value and nil mean the defaults.
type Options struct {
	// Dial says how to dial. Its ConnectTimeout bounds each layer, a negative one
	// none; its Session is not used.
	Dial tunnel.DialOptions

	// Role is the yamux role of this side. Default: wsmux.Client.
	Role wsmux.Role

	// Logger gets what yamux has to say, at debug level. Default: discarded.
	Logger *slog.Logger
}

// Run probes the layers to rawURL in order and stops at the first that fails,
// which is the last that it reports. report is called for each layer, one at a
// time.
//
// The error is why nothing could be probed, or ctx's cause if ctx has ended in
// the midst of it: the layer that was being probed then is not reported. That a
// layer fails is no error.
func Run(ctx context.Context, rawURL string, opts *Options, report func(Result)) error {
	if opts == nil {
		opts = &Options{}
	}
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return err
	}
	p := &probe{opts: opts, url: u, report: report, timeout: cmp.Or(opts.Dial.ConnectTimeout, tunnel.DefaultConnectTimeout)}
	proxy, err := outbound.ProxyFor(opts.Dial.Proxy, u)
	if err != nil {
		return err
	}
	ws, ok := p.dial(ctx, proxy)
	if ok {
		ok = p.session(ctx, ws)
	}
	if !ok && !p.failed {
		return context.Cause(ctx)
	}
	return nil
}

// probe is one run.
type probe struct {
	opts    *Options
	url     *url.URL
	report  func(Result)
	timeout time.Duration // of each layer; negative: none
	failed  bool          // a failure has been reported
}

// try probes a layer with f, whose context ends with the layer's time, and
// reports what f returns. It reports nothing once ctx has ended.
func (p *probe) try(ctx context.Context, layer Layer, f func(context.Context) Result) bool {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if p.timeout > 0 {
		bounded, cancel = context.WithTimeoutCause(ctx, p.timeout, netdiag.TimeoutError(p.timeout))
	}
	defer cancel()
	start := time.Now()
	r := f(bounded)
	r.Layer = cmp.Or(r.Layer, layer)
	r.Took = cmp.Or(r.Took, time.Since(start))
	return p.tell(ctx, r)
}

// tell reports r unless ctx has ended, and whether to go on.
func (p *probe) tell(ctx context.Context, r Result) bool {
	if ctx.Err() != nil {
		return false
	}
	if r.Err != nil {
		p.failed = true
		r.Detail = cmp.Or(r.Detail, r.Err.Error())
	}
	r.Detail = netdiag.Printable(r.Detail, maxDetail)
	p.report(r)
	return r.Err == nil
}

// maxDetail bounds a detail, in characters: names and texts in it are a peer's.
const maxDetail = 400
