// Package check probes the connection to a gRPC service behind a WebSocket, layer
// by layer, and names the first layer that fails.
//
//	err := check.Run(ctx, "wss://worker.example/v1/ws/sync", nil, func(r check.Result) {
//		fmt.Println(r.Layer, r.Err == nil, r.Took, r.Detail)
//	})
//
// Run dials a session of its own, as package tunnel does, and opens one stream on
// it. Its requests change nothing at the peer: a WebSocket Ping, yamux Pings, the
// HTTP/2 preface, the health service's Check and the reflection service's list.
// Whatever the result, the session ends with a GoAway and a Close frame of status
// code 1000 if the connection still works.
//
// The peer is not trusted: details and hints are one line, as by [escape.Line], and Run
// keeps only a bounded number of the received bytes.
package check

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Layer is one of the layers between this machine and the service.
type Layer string

// The layers, in the order in which they are probed. Those that don't apply are
// left out: DNS for an address, Proxy without a proxy, TLS for ws, Relay without
// Options.Worker, InnerTLS without it in Options.Dial. Through a relay, Ping and Yamux reach
// that, and the layers after them the Worker.
const (
	DNS        Layer = "dns"        // resolution of the host name, or of the proxy's
	TCP        Layer = "tcp"        // a connection to the host, or to the proxy
	Proxy      Layer = "proxy"      // the proxy's connection to the host
	TLS        Layer = "tls"        // version, certificates, expiry
	WebSocket  Layer = "websocket"  // the HTTP upgrade
	Relay      Layer = "relay"      // the relay has the Worker
	Ping       Layer = "ping"       // WebSocket Ping and Pong
	Yamux      Layer = "yamux"      // Ping, roles, and a stream that the peer accepts
	InnerTLS   Layer = "inner-tls"  // TLS in that stream: version, certificates, expiry
	HTTP2      Layer = "http2"      // preface and SETTINGS
	Health     Layer = "health"     // grpc.health.v1.Health/Check
	Reflection Layer = "reflection" // the list of services
)

// Layers returns all layers in the order in which they are probed.
func Layers() []Layer {
	return []Layer{DNS, TCP, Proxy, TLS, WebSocket, Relay, Ping, Yamux, InnerTLS, HTTP2, Health, Reflection}
}

// Result is the outcome of probing one layer.
type Result struct {
	Layer  Layer
	Took   time.Duration
	Detail string // the finding or the failure, in one line
	Hint   string // advice to the user, in one line; empty if this package has none
	Err    error  // why the layer failed; nil if it didn't
	Note   bool   // the layer works, but Detail has a warning, such as a certificate that expires soon
}

// Options adjusts Run. Its zero value and nil mean the defaults.
type Options struct {
	// Dial has the options for dialing. ConnectTimeout bounds each layer instead of
	// the whole dial; a negative one means no limit. Of Session, only MaxMessage and TLS
	// are used.
	Dial tunnel.DialOptions

	// Worker is the name of a Worker, if the URL and the subprotocol in Dial are those with
	// which a relay is asked for it. Default: the URL isn't a relay's.
	Worker string

	// Role is the yamux role of this side. Default: wsmux.Client.
	Role wsmux.Role

	// Secrets are masked in details and hints, in which the peer may repeat them.
	// Default: none.
	Secrets *escape.Secrets

	// Logger receives the session's messages, at debug level. Default: discarded.
	Logger *slog.Logger
}

// Run probes the layers to rawURL in order and stops after the first that fails.
// It calls report with each layer's result, one call at a time.
//
// A failed layer is not an error: Run returns an error only if the arguments are
// wrong, or ctx's cause if ctx ended. The layer that was being probed then isn't
// reported.
func Run(ctx context.Context, rawURL string, opts *Options, report func(Result)) error {
	if opts == nil {
		opts = &Options{}
	}
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return err
	}
	proxy, err := outbound.ProxyFor(opts.Dial.Proxy, u)
	if err != nil {
		return err
	}
	p := &prober{opts: opts, url: u, callback: report, timeout: cmp.Or(opts.Dial.ConnectTimeout, tunnel.DefaultConnectTimeout)}
	ws, ok := p.dial(ctx, proxy)
	if ok {
		ok = p.probeSession(ctx, ws)
	}
	if !ok && !p.failed {
		return context.Cause(ctx)
	}
	return nil
}

// prober holds the state of one Run.
type prober struct {
	opts     *Options
	url      *url.URL
	callback func(Result)  // called by report only
	timeout  time.Duration // of each layer; negative: none
	failed   bool          // a failure has been reported
}

// probe calls f with a context that ends at the layer's timeout, and reports its
// result, for layer unless f sets another: f may find that a later layer failed. probe
// returns false if a layer failed or ctx ended.
func (p *prober) probe(ctx context.Context, layer Layer, f func(context.Context) Result) bool {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if p.timeout > 0 {
		bounded, cancel = context.WithTimeoutCause(ctx, p.timeout, netdiag.TimeoutError(p.timeout))
	}
	defer cancel()
	start := time.Now()
	r := f(bounded)
	r.Layer = cmp.Or(r.Layer, layer)
	r.Took = time.Since(start)
	return p.report(ctx, r)
}

// report calls the callback with r, unless ctx has ended. An empty Detail becomes the
// text of Err, and both texts become one line without secrets. report returns false if
// the layer failed or ctx has ended.
func (p *prober) report(ctx context.Context, r Result) bool {
	if ctx.Err() != nil {
		return false
	}
	if r.Err != nil {
		p.failed = true
		r.Detail = cmp.Or(r.Detail, r.Err.Error())
	}
	r.Detail, r.Hint = p.line(r.Detail), p.line(r.Hint)
	p.callback(r)
	return r.Err == nil
}

// line returns text as one line without secrets.
func (p *prober) line(text string) string {
	return netdiag.Truncate(escape.Line(p.opts.Secrets.Mask(text)), maxDetail)
}

// maxDetail bounds a detail, in characters: it may contain a peer's text.
const maxDetail = 400
