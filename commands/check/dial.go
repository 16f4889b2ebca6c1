package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// dialing is the part of a run that tunnel.DialWebSocket does: from the name's
// resolution to the upgrade. It learns of the layers from an httptrace, whose
// calls may come from several goroutines, and even after the layer is done.
type dialing struct {
	p      *probe
	ctx    context.Context //nolint:containedctx // httptrace's functions get none
	proxy  *url.URL        // nil: none
	giveUp context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer // ends the layer; nil: nothing does
	layer Layer       // being probed
	since time.Time
	host  string  // being resolved
	tls   *Result // held back until it has carried something
}

// dial probes the layers up to the WebSocket, which it returns.
func (p *probe) dial(ctx context.Context, proxy *url.URL) (*websocket.Conn, bool) {
	bounded, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	d := &dialing{p: p, ctx: ctx, proxy: proxy, giveUp: giveUp}
	d.start()
	opts := p.opts.Dial
	opts.ConnectTimeout = -1 // d bounds each layer
	ws, err := tunnel.DialWebSocket(httptrace.WithClientTrace(bounded, d.trace()), p.url.String(), &opts)
	return ws, d.end(ws, err)
}

// start begins with the first layer.
func (d *dialing) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p.timeout > 0 {
		d.timer = time.AfterFunc(d.p.timeout, d.expire)
	}
	host := d.p.url.Hostname()
	if d.proxy != nil {
		host = d.proxy.Hostname()
	}
	if d.host = host; net.ParseIP(host) == nil {
		d.begin(DNS)
	} else {
		d.begin(TCP)
	}
}

func (d *dialing) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(info httptrace.DNSStartInfo) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.host = info.Host
			d.begin(DNS)
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				d.done(DNS, func() Result { return Result{Detail: d.host + " is " + addresses(info.Addrs)} }, TCP)
			}
		},
		ConnectDone: func(_, addr string, err error) {
			switch {
			case err != nil: // another address may do
			case d.proxy != nil:
				d.done(TCP, func() Result { return Result{Detail: addr + ", the proxy"} }, Proxy)
			default:
				d.done(TCP, func() Result { return Result{Detail: addr} }, TLS)
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			d.done(Proxy, func() Result {
				return Result{Detail: outbound.RedactURL(d.proxy) + " has connected to " + d.p.url.Host}
			}, TLS)
			if d.p.url.Scheme == "ws" || d.p.url.Scheme == "http" {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.begin(WebSocket)
			}
		},
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			if err != nil {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			r := describeTLS(&state, time.Now())
			r.Layer, r.Took = TLS, time.Since(d.since)
			d.tls = &r
			d.begin(WebSocket)
		},
	}
}

// begin starts probing layer. The caller holds d.mu.
func (d *dialing) begin(layer Layer) {
	d.layer, d.since = layer, time.Now()
	if d.timer != nil {
		d.timer.Reset(d.p.timeout)
	}
}

// done reports the result of layer, unless it is reported already, and begins next.
func (d *dialing) done(layer Layer, result func() Result, next Layer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layer != layer {
		return
	}
	r := result()
	r.Layer, r.Took = layer, time.Since(d.since)
	d.p.tell(d.ctx, r)
	d.begin(next)
}

// expire gives up on the layer that is being probed.
func (d *dialing) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.since) >= d.p.timeout { // the layer hasn't just begun
		d.giveUp(netdiag.TimeoutError(d.p.timeout))
	}
}

// end reports the last layer: WebSocket if the dial succeeded, and otherwise the
// one that failed with err.
func (d *dialing) end(ws *websocket.Conn, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	r := Result{Layer: d.layer, Took: time.Since(d.since), Err: err}
	if err != nil {
		r = d.failure(r)
	}
	if d.tls != nil && r.Layer != TLS && !d.p.tell(d.ctx, *d.tls) {
		if ws != nil {
			_ = ws.Close()
		}
		return false
	}
	if err != nil {
		return d.p.tell(d.ctx, r)
	}
	r.Detail = "101 Switching Protocols"
	if protocol := ws.Subprotocol(); protocol != "" {
		r.Detail += ", subprotocol " + protocol
	}
	if !d.p.tell(d.ctx, r) {
		_ = ws.Close()
		return false
	}
	return true
}

// failure attributes r.Err to its layer and explains it.
func (d *dialing) failure(r Result) Result {
	if de, ok := errors.AsType[*tunnel.DialError](r.Err); ok {
		r.Detail = strings.TrimPrefix(de.Reason(), "handshake: ")
	}
	oe, isOp := errors.AsType[*net.OpError](r.Err)
	if _, ok := errors.AsType[netdiag.TimeoutError](r.Err); ok && (r.Layer == TLS || r.Layer == WebSocket) {
		r.Hint = "something accepts connections there and says nothing: check the URL's port, and ws:// or wss://"
	}
	_, isDNS := errors.AsType[*net.DNSError](r.Err)
	switch {
	case isDNS: // the proxy may be up, and the target's name unknown
		r.Layer = DNS
	case d.tls != nil && netdiag.Alert(r.Err) != "":
		// In TLS 1.3 the peer verifies a client's certificate after the client's
		// handshake is complete, and sends the alert instead of the answer.
		r.Layer, r.Took = TLS, r.Took+d.tls.Took
	case r.Layer == TCP && isOp && oe.Addr != nil:
		r.Detail = oe.Addr.String() + ": " + r.Detail
	case r.Layer == TCP && d.proxy == nil: // a proxy's error names it
		r.Detail = d.p.url.Host + ": " + r.Detail
	case r.Layer == TLS:
		if ce, ok := errors.AsType[*tls.CertificateVerificationError](r.Err); ok && len(ce.UnverifiedCertificates) > 0 {
			r.Detail += " (" + describeCertificate(ce.UnverifiedCertificates[0], time.Now()) + ")"
		}
	}
	return r
}

// addresses lists addrs, each once.
func addresses(addrs []net.IPAddr) string {
	texts := make([]string, len(addrs))
	for i, addr := range addrs {
		texts[i] = addr.String()
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ", ")
}
