package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// noProxy, instead of a proxy's URL, means a direct connection.
const noProxy = "none"

var (
	errProxyURL  = errors.New("the proxy's URL can't be read: want [http|https|socks5|socks5h://][user:password@]host[:port], special characters in user and password escaped")
	errProxyAuth = errors.New("authentication refused")
)

// ProxyError means that the connection to a proxy, or from the proxy to the target,
// failed.
type ProxyError struct {
	Proxy       string        // its URL without user and password, such as "http://host:3128"
	WithUser    bool          // the URL had a user and password
	StatusCode  int           // of an HTTP proxy's response other than 2xx; otherwise 0
	AuthSchemes []string      // that the response offers, such as "NTLM": see the function
	RetryAfter  time.Duration // that the response asks for: see the function
	Err         error         // contains no text from the proxy, which may contain credentials, except AuthSchemes
}

func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }
func (e *ProxyError) Unwrap() error { return e.Err }

// Refused reports whether the proxy refused the credentials or requires some.
func (e *ProxyError) Refused() bool {
	return e.StatusCode == http.StatusProxyAuthRequired || errors.Is(e.Err, errProxyAuth)
}

// ProxyFor returns the URL of the proxy for target, or nil for a direct connection. The
// proxy is explicit, or, if that is empty, HTTPS_PROXY or HTTP_PROXY of the environment,
// except for loopback targets and those in NO_PROXY. explicit "none" means a direct
// connection. The scheme of a proxy is http (the default), https, socks5, or socks5h (the
// proxy resolves the host name); the URL may contain a user and password, and the port is
// optional. The error contains no part of a password.
func ProxyFor(explicit string, target *url.URL) (*url.URL, error) {
	return proxyFrom(httpproxy.FromEnvironment(), explicit, target)
}

func proxyFrom(env *httpproxy.Config, explicit string, target *url.URL) (*url.URL, error) {
	switch explicit {
	case "":
	case noProxy:
		return nil, nil
	default:
		return parseProxy(explicit)
	}
	name, raw, scheme := "HTTP_PROXY", env.HTTPProxy, "http"
	if target.Scheme == "wss" || target.Scheme == "https" {
		name, raw, scheme = "HTTPS_PROXY", env.HTTPSProxy, "https"
	}
	if raw == "" {
		return nil, nil
	}
	// httpproxy only decides whether to use a proxy. It would ignore a URL that it
	// can't parse, and the connection would bypass the proxy.
	rules := *env
	rules.HTTPProxy, rules.HTTPSProxy = "http://proxy", "http://proxy"
	if use, err := rules.ProxyFunc()(&url.URL{Scheme: scheme, Host: target.Host}); use == nil || err != nil {
		return nil, err
	}
	u, err := parseProxy(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return u, nil
}

// parseProxy parses a proxy's URL and adds the default scheme and port. Its errors
// contain no part of a password.
func parseProxy(raw string) (*url.URL, error) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	_, host, _ := splitURL(raw)
	if want := withBrackets(host); want != "" && !strings.Contains(raw, "@") {
		return nil, fmt.Errorf("the proxy's host is %q: an IPv6 address needs brackets: want %s", host, want)
	}
	// A path may be the rest of a password that contains a slash.
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return nil, errProxyURL
	}
	ports := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}
	port, ok := ports[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("unknown proxy scheme %q: want http, https, socks5 or socks5h", u.Scheme)
	}
	if port = cmp.Or(u.Port(), port); !isPort(port) {
		return nil, errProxyURL
	}
	if _, err := ASCIIHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("the proxy's host is %w", err)
	}
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

// ProxyName returns the URL of a proxy, a result of [ProxyFor], without user and password.
func ProxyName(through *url.URL) string { return through.Scheme + "://" + through.Host }

// connectVia returns a connection to addr, host:port, through the given proxy. If ctx
// ends first, the error may be about the closed connection.
func connectVia(ctx context.Context, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	host, err := ASCIIHost(through.Host)
	if err != nil {
		return nil, err
	}
	if through.Scheme == "socks5" { // with socks5h the proxy resolves the name
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		addrs, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(addrs[0], port)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	// Closing conn interrupts all steps below, and unlike a deadline doesn't have to
	// be reset.
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	via, err := negotiate(ctx, conn, &url.URL{Scheme: through.Scheme, User: through.User, Host: host}, addr, config)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return via, nil
}

// negotiate turns a connection to a proxy into one to addr.
func negotiate(ctx context.Context, conn net.Conn, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	switch through.Scheme {
	case "socks5", "socks5h":
		return conn, connectSOCKS(conn, through.User, addr)
	case "https":
		secure := tls.Client(conn, proxyTLS(through.Hostname(), config))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = fastCloseTLS{secure}
	}
	return connectHTTP(conn, through.User, addr)
}

// proxyTLS returns the TLS configuration for a proxy. It trusts the system's root
// certificates and config.RootCAs. The rest of config is for the target.
func proxyTLS(host string, config *tls.Config) *tls.Config {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if config == nil || config.RootCAs == nil {
		return c
	}
	c.InsecureSkipVerify = true // VerifyConnection verifies, because RootCAs is a single pool
	c.VerifyConnection = func(state tls.ConnectionState) error {
		opts := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(opts) // against the system's roots
		if err != nil {
			opts.Roots = config.RootCAs
			_, err = state.PeerCertificates[0].Verify(opts)
		}
		return err
	}
	return c
}

// fastCloseTLS is a tls.Conn whose Close doesn't spend up to five seconds on sending an
// alert.
type fastCloseTLS struct{ *tls.Conn }

func (c fastCloseTLS) Close() error { return c.NetConn().Close() }
