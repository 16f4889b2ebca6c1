package tunnel

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
)

// DialTCP dials addr, host:port, for something other than a session: through a proxy
// as [DialOptions].Proxy says, that of the environment being HTTPS_PROXY. config, which may
// be nil, has further authorities for an https proxy. The error is the network's or
// a *ProxyError.
func DialTCP(ctx context.Context, addr, proxy string, config *tls.Config) (net.Conn, error) {
	through, err := proxyFor(proxy, &url.URL{Scheme: "https", Host: addr})
	if err != nil {
		return nil, err
	}
	return dialTarget(ctx, "tcp", addr, through, config)
}
