// Package outbound connects to servers, through a proxy if one is set, and parses
// the URLs and addresses that name them.
//
//	addr, err := outbound.ParseAddr("worker.example:443")
//	through, err := outbound.ProxyFor("", &url.URL{Scheme: "https", Host: addr.Address})
//	conn, err := outbound.Dial(ctx, addr, through, nil)
//
// The caller closes the connections. All functions may be called from any
// goroutine, and only [Dial] blocks, until its context ends at the latest. No
// error repeats a password, a query or an answer of a proxy, which may contain
// credentials.
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

// Dial connects to addr through the proxy of [ProxyFor], or directly if that is
// nil. config may be nil: its RootCAs are trusted for an https proxy besides the
// system's authorities, and nothing else of it is used. Once Dial has returned,
// ctx has no influence on the connection. Through a proxy the error is a
// *[ProxyError], which wraps ctx's cause once ctx has ended, otherwise it is that
// of [net.Dialer].
func Dial(ctx context.Context, addr Addr, through *url.URL, config *tls.Config) (net.Conn, error) {
	if through == nil {
		return new(net.Dialer).DialContext(ctx, addr.Network, addr.Address)
	}
	conn, err := connectVia(ctx, through, addr.Address, config)
	if err == nil {
		return conn, nil
	}
	// net sets ctx's deadline on its sockets, so a socket may time out before ctx.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	status, _ := errors.AsType[proxyStatusError](err)
	return nil, &ProxyError{RedactURL(through), int(status), netdiag.Cause(err)}
}
