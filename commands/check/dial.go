package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
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

// dialTrace reports the layers from DNS to the WebSocket while
// tunnel.DialWebSocket runs. It follows the dial by httptrace, which calls its
// hooks from several goroutines, and sometimes after their layer has ended.
type dialTrace struct {
	p      *prober
	ctx    context.Context //nolint:containedctx // httptrace's functions get none
	proxy  *url.URL        // nil: none
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer // ends the current layer; nil: no time limit
	layer Layer       // the current one
	start time.Time   // of the current layer
	host  string      // the name being resolved
	tls   *Result     // not reported until the connection has carried data
}

// dial probes the layers up to the WebSocket and returns the WebSocket. It returns
// false if a layer failed or ctx ended.
func (p *prober) dial(ctx context.Context, proxy *url.URL) (*websocket.Conn, bool) {
	cancellable, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &dialTrace{p: p, ctx: ctx, proxy: proxy, cancel: cancel, host: p.url.Hostname()}
	d.mu.Lock()
	if p.timeout > 0 {
		d.timer = time.AfterFunc(p.timeout, d.expire)
	}
	if proxy != nil {
		d.host = proxy.Hostname()
	}
	host, _ := outbound.ASCIIHost(d.host) // it may be an address only then
	if _, err := netip.ParseAddr(host); err != nil {
		d.begin(DNS)
	} else {
		d.begin(TCP)
	}
	d.mu.Unlock()
	opts := p.opts.Dial
	opts.ConnectTimeout = -1 // d bounds each layer
	var header http.Header
	opts.Upgraded = func(h http.Header) { header = h }
	ws, err := tunnel.DialWebSocket(httptrace.WithClientTrace(cancellable, d.hooks()), p.url.String(), &opts)
	ok := d.finish(ws, err) && (p.opts.Worker == "" || p.report(ctx, p.relay(ws, header)))
	if !ok && ws != nil {
		_ = ws.Close()
	}
	return ws, ok
}

func (d *dialTrace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(info httptrace.DNSStartInfo) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.host = d.given(info.Host)
			d.begin(DNS)
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if info.Err == nil {
				d.done(DNS, d.host+" is "+addresses(info.Addrs), TCP)
			}
		},
		ConnectDone: func(_, addr string, err error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			switch {
			case err != nil: // another address may work
			case d.proxy != nil:
				d.done(TCP, addr+", the proxy", Proxy)
			default:
				d.done(TCP, addr, TLS)
			}
		},
		TLSHandshakeStart: func() { d.connected(TLS) },
		GotConn:           func(httptrace.GotConnInfo) { d.connected(WebSocket) },
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			if err != nil {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			r := describeTLS(&state, time.Now())
			r.Layer, r.Took = TLS, time.Since(d.start)
			d.tls = &r
			d.begin(WebSocket)
		},
	}
}

// given returns the host that is resolved as name, as in its URL.
func (d *dialTrace) given(name string) string {
	for _, u := range []*url.URL{d.p.url, d.proxy} {
		if u == nil {
			continue
		}
		if ascii, err := outbound.ASCIIHost(u.Hostname()); err == nil && ascii == name {
			return u.Hostname()
		}
	}
	return name
}

// connected reports that the proxy works, if there is one, and begins next, unless that
// has begun.
func (d *dialTrace) connected(next Layer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proxy != nil {
		d.done(Proxy, outbound.ProxyName(d.proxy)+" has connected to "+d.p.url.Host, next)
	}
	if d.layer != next {
		d.begin(next)
	}
}

// begin makes layer the current one. The caller holds d.mu.
func (d *dialTrace) begin(layer Layer) {
	d.layer, d.start = layer, time.Now()
	if d.timer != nil {
		d.timer.Reset(d.p.timeout)
	}
}

// done reports that layer works and begins next. It does nothing if layer isn't
// the current one. The caller holds d.mu.
func (d *dialTrace) done(layer Layer, detail string, next Layer) {
	if d.layer != layer {
		return
	}
	d.p.report(d.ctx, Result{Layer: layer, Took: time.Since(d.start), Detail: detail})
	d.begin(next)
}

// expire cancels the dial when the current layer's time is over.
func (d *dialTrace) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.start) >= d.p.timeout { // false if the layer has just begun
		d.cancel(netdiag.TimeoutError(d.p.timeout))
	}
}

// finish reports the last layer of the dial: the one that failed with err, or
// WebSocket. A TLS result that is still pending is reported first.
func (d *dialTrace) finish(ws *websocket.Conn, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	r := Result{Layer: d.layer, Took: time.Since(d.start), Err: err}
	if err != nil {
		r = d.explain(r)
	} else {
		r.Detail = "101 Switching Protocols"
		if protocol := ws.Subprotocol(); protocol != "" {
			r.Detail += ", subprotocol " + protocol
		}
	}
	if d.tls != nil && r.Layer != TLS && !d.p.report(d.ctx, *d.tls) {
		return false
	}
	return d.p.report(d.ctx, r)
}

// explain sets the layer that r.Err belongs to, the detail, and the hint.
func (d *dialTrace) explain(r Result) Result {
	if de, ok := errors.AsType[*tunnel.DialError](r.Err); ok {
		r.Detail = strings.TrimPrefix(de.Reason(), "handshake: ")
	}
	if _, ok := errors.AsType[netdiag.TimeoutError](r.Err); ok && (r.Layer == TLS || r.Layer == WebSocket) {
		r.Hint = "something accepts connections there but sends nothing: check the URL's port, and ws:// or wss://"
	}
	oe, isOp := errors.AsType[*net.OpError](r.Err)
	_, isDNS := errors.AsType[*net.DNSError](r.Err)
	he, isRefusal := errors.AsType[*tunnel.HandshakeError](r.Err)
	switch {
	case isRefusal && d.p.opts.Worker != "" && isOfRelay(he):
		r.Layer = Relay
	case isDNS: // the target's name may fail after the proxy's layers have begun
		r.Layer = DNS
	case d.tls != nil && netdiag.Alert(r.Err) != "":
		// In TLS 1.3 the peer verifies a client's certificate after the client's
		// handshake is complete, and sends the alert instead of the response.
		r.Layer, r.Took = TLS, r.Took+d.tls.Took
	case r.Layer == TCP && isOp && oe.Addr != nil:
		r.Detail = oe.Addr.String() + ": " + r.Detail
	case r.Layer == TCP && d.proxy == nil: // a proxy's error includes its URL
		r.Detail = d.p.url.Host + ": " + r.Detail
	case r.Layer == TLS:
		if ce, ok := errors.AsType[*tls.CertificateVerificationError](r.Err); ok && len(ce.UnverifiedCertificates) > 0 {
			r.Detail += " (" + describeCertificate(ce.UnverifiedCertificates[0], time.Now()) + ")"
		}
	}
	return r
}

// addresses lists addrs, sorted and without duplicates.
func addresses(addrs []net.IPAddr) string {
	texts := make([]string, len(addrs))
	for i, addr := range addrs {
		texts[i] = addr.String()
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ", ")
}
