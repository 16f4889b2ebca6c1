// Package outbound connects to servers, directly or through a proxy, and parses their
// URLs and addresses.
//
//	addr, err := outbound.ParseAddr("worker.example:443")
//	through, err := outbound.ProxyFor("", &url.URL{Scheme: "https", Host: addr.Address})
//	conn, err := outbound.Dial(ctx, addr, through, nil)
//
// The caller closes the connections. All functions may be called from any goroutine.
// Only [Dial] blocks, until its context ends at the latest. Errors contain no
// passwords, no queries, and no text from a proxy, which may contain credentials, except
// the names of authentication schemes.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// Dial connects to addr through the proxy through, a result of [ProxyFor], or directly
// if that is nil. For an https proxy it trusts the system's root certificates and
// config.RootCAs; config may be nil and isn't used otherwise. After Dial has returned,
// the end of ctx doesn't affect the connection. With a proxy the error is a
// *[ProxyError], which wraps the cause of ctx if ctx has ended before the proxy's response;
// otherwise it is the error of [net.Dialer].
func Dial(ctx context.Context, addr Addr, through *url.URL, config *tls.Config) (net.Conn, error) {
	if through == nil {
		return new(net.Dialer).DialContext(ctx, addr.Network, addr.Address)
	}
	conn, err := connectVia(ctx, through, addr.Address, config)
	if err == nil {
		return conn, nil
	}
	pe := &ProxyError{Proxy: ProxyName(through), WithUser: through.User != nil, Err: netdiag.Cause(err)}
	if status, ok := errors.AsType[*proxyStatusError](err); ok {
		pe.StatusCode, pe.AuthSchemes, pe.RetryAfter = status.code, status.schemes, status.retryAfter
		return nil, pe
	}
	// net sets ctx's deadline on its sockets, so a socket may time out before ctx.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		pe.Err = context.Cause(ctx)
	}
	return nil, pe
}
