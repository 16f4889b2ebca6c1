package tunnel

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"

	"github.com/wstun/wstun/tunnel/netdiag"
)

const (
	// noProxy, in place of a proxy's URL, turns off that of the environment.
	noProxy = "none"

	// maxConnectHeader is how much is read of a proxy's answer to CONNECT.
	maxConnectHeader = 64 << 10
)

var (
	errProxyURL     = errors.New("the proxy's URL can't be read: want [http|https|socks5|socks5h://][user:password@]host[:port], special characters in user and password escaped")
	errProxyNoHTTP  = errors.New("its answer is not HTTP")
	errProxyTooLong = fmt.Errorf("its answer is longer than %d KiB", maxConnectHeader>>10)
	errProxyAuth    = errors.New("authentication refused")
)

// ProxyError is why the way through an outbound proxy failed. The target of
// the connection may not even have been tried.
type ProxyError struct {
	Proxy      string // its URL without user and password, such as "http://host:3128"
	StatusCode int    // of the HTTP proxy's answer; 0 if there was none
	Err        error  // what went wrong; repeats no text of an answer, which may have the credentials in it
}

func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }
func (e *ProxyError) Unwrap() error { return e.Err }

// Refused reports whether the proxy refused the credentials, or wants some.
func (e *ProxyError) Refused() bool {
	return e.StatusCode == http.StatusProxyAuthRequired || errors.Is(e.Err, errProxyAuth)
}

// proxyStatusError is an answer to CONNECT other than 2xx.
type proxyStatusError int

func (e proxyStatusError) Error() string {
	return fmt.Sprintf("%d %s", int(e), cmp.Or(http.StatusText(int(e)), "unknown status"))
}

// proxyFor returns the proxy to dial target through, nil for none: explicit,
// or that of the environment if explicit is empty. The environment's is left
// out for NO_PROXY and for a target on loopback. The URL has a scheme, a host
// with a port, and nothing else but maybe a user.
func proxyFor(explicit string, target *url.URL) (*url.URL, error) {
	return proxyFrom(httpproxy.FromEnvironment(), explicit, target)
}

// ProxyFor returns the URL of the proxy that Dial goes through to target with o,
// nil for none.
func (o *DialOptions) ProxyFor(target *url.URL) (*url.URL, error) { return proxyFor(o.Proxy, target) }

// CheckProxy reports what is wrong with a value of [DialOptions].Proxy, or, if
// that is empty, with the environment's proxy for target. It says nothing that
// could be a part of a password.
func CheckProxy(explicit string, target *url.URL) error {
	_, err := proxyFor(explicit, target)
	return err
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
	// httpproxy is only asked whether to use one: it takes a URL that it can't
	// read for none, and the connection would go past the proxy.
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

// parseProxy parses a proxy's URL and fills in what may be left out. Its
// errors say nothing that could be a part of a password.
func parseProxy(raw string) (*url.URL, error) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	// What is behind the host would be the rest of a password with a / in it.
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
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

// dialVia returns a connection to addr, host:port, through a proxy from
// proxyFor. Like net.Dialer it returns when ctx ends, and ctx has no influence
// on the connection after that. An https proxy may have a certificate of the
// system's authorities or of config's, which may be nil. The error is a
// *ProxyError; once ctx has ended it wraps ctx's cause.
func dialVia(ctx context.Context, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	conn, err := connectVia(ctx, through, addr, config)
	if err == nil {
		return conn, nil
	}
	// net sets ctx's deadline on its sockets, which may notice first.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	status, _ := errors.AsType[proxyStatusError](err)
	return nil, &ProxyError{RedactURL(through), int(status), netdiag.Cause(err)}
}

func connectVia(ctx context.Context, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	if through.Scheme == "socks5" { // with socks5h the proxy looks up the name
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
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", through.Host)
	if err != nil {
		return nil, err
	}
	// Closing it ends every step below at once, and leaves no deadline behind.
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	via, err := negotiate(ctx, conn, through, addr, config)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return via, nil
}

// negotiate makes of a connection to a proxy one to addr.
func negotiate(ctx context.Context, conn net.Conn, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	switch through.Scheme {
	case "socks5", "socks5h":
		return conn, connectSOCKS(conn, through.User, addr)
	case "https":
		secure := tls.Client(conn, proxyTLS(through.Hostname(), config))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = curtTLS{secure}
	}
	return connectHTTP(conn, through.User, addr)
}

// proxyTLS is how to speak TLS with a proxy: as the system does, and with
// config's authorities. What else config holds is for the target.
func proxyTLS(host string, config *tls.Config) *tls.Config {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if config == nil || config.RootCAs == nil {
		return c
	}
	c.InsecureSkipVerify = true // VerifyConnection does it: there is room for one pool only
	c.VerifyConnection = func(state tls.ConnectionState) error {
		opts := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(opts) // the system's
		if err != nil {
			opts.Roots = config.RootCAs
			_, err = state.PeerCertificates[0].Verify(opts)
		}
		return err
	}
	return c
}

// curtTLS is TLS whose Close doesn't try for five seconds to say goodbye.
type curtTLS struct{ *tls.Conn }

func (c curtTLS) Close() error { return c.NetConn().Close() }

// connectHTTP asks an HTTP proxy for a tunnel to addr (RFC 9110 §9.3.6).
func connectHTTP(conn net.Conn, user *url.Userinfo, addr string) (net.Conn, error) {
	r := http.Request{Method: http.MethodConnect, URL: &url.URL{}, Host: addr, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		r.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	ahead, err := readConnectAnswer(conn)
	if err != nil {
		return nil, err
	}
	return &aheadConn{conn, io.MultiReader(bytes.NewReader(ahead), conn)}, nil
}

// readConnectAnswer reads the answer to a CONNECT from r. It returns what it
// has read beyond the header, which the target has sent.
func readConnectAnswer(r io.Reader) (ahead []byte, err error) {
	limited := &io.LimitedReader{R: r, N: maxConnectHeader}
	buffered := bufio.NewReader(limited)
	for status := 0; status < 200; { // 1xx come before the answer
		status, err = readConnectStatus(textproto.NewReader(buffered))
		if err != nil && limited.N == 0 {
			return nil, errProxyTooLong
		}
		if err != nil {
			return nil, err
		}
	}
	return buffered.Peek(buffered.Buffered())
}

// readConnectStatus reads a status line, whose reason phrase may be left out,
// and the header, in which nothing has a meaning here. A status above 299 is an
// error.
func readConnectStatus(r *textproto.Reader) (int, error) {
	line, err := r.ReadLine()
	if err != nil {
		return 0, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := strconv.Atoi(code)
	if _, _, ok := http.ParseHTTPVersion(version); !ok || err != nil || len(code) != 3 || status < 100 {
		return 0, errProxyNoHTTP
	}
	if status >= 300 {
		return 0, proxyStatusError(status)
	}
	for line != "" && err == nil {
		line, err = r.ReadLine()
	}
	return status, err
}

// aheadConn is a connection of which a part has been read ahead.
type aheadConn struct {
	net.Conn
	r io.Reader // that part, then Conn
}

func (c *aheadConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// connectSOCKS asks a SOCKS proxy to connect conn with addr (RFC 1928, 1929).
func connectSOCKS(conn net.Conn, user *url.Userinfo, addr string) error {
	var auth *proxy.Auth
	if user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	replies := &socksReplies{Conn: conn}
	socks, err := proxy.SOCKS5("tcp", conn.RemoteAddr().String(), auth, dialedConn{replies})
	if err == nil {
		_, err = socks.Dial("tcp", addr)
	}
	if err == nil {
		return nil
	}
	err = netdiag.Cause(err)
	switch refusal := replies.refusal(); {
	case replies.refusedAuth():
		return fmt.Errorf("%w: %w", errProxyAuth, err)
	case refusal != "":
		return errors.New("its answer: " + refusal) // "connection refused" is the target's
	}
	return err
}

// socksReplies keeps the first bytes of a SOCKS proxy's replies: x/net has no
// errors to tell them apart.
type socksReplies struct {
	net.Conn
	head []byte
}

// The replies of a SOCKS proxy begin with a version and a method (RFC 1928 §3). After
// the method of user and password come a version and a status (RFC 1929 §2). Then
// come a version and a reply to the request (RFC 1928 §6).
const (
	socksNoMethod  = 0xff
	socksPassword  = 2
	socksHeadBytes = 6
)

func (c *socksReplies) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.head = append(c.head, p[:min(n, socksHeadBytes-len(c.head))]...)
	return n, err
}

// withPassword reports whether the proxy asks for a user and a password.
func (c *socksReplies) withPassword() bool { return len(c.head) >= 2 && c.head[1] == socksPassword }

// refusedAuth reports whether the proxy refused the credentials, or the lack of
// them.
func (c *socksReplies) refusedAuth() bool {
	return len(c.head) >= 2 && c.head[1] == socksNoMethod || c.withPassword() && len(c.head) >= 4 && c.head[3] != 0
}

// refusal returns the proxy's reply, or "" if it hasn't refused to connect.
func (c *socksReplies) refusal() string {
	at := 3
	if c.withPassword() {
		at += 2
	}
	if len(c.head) <= at || c.head[at] == 0 {
		return ""
	}
	texts := []string{
		1: "general SOCKS server failure", 2: "connection not allowed by ruleset", 3: "network unreachable", 4: "host unreachable",
		5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported",
	}
	if reply := int(c.head[at]); reply < len(texts) {
		return texts[reply]
	}
	return fmt.Sprintf("unknown code: %d", c.head[at])
}

// dialedConn is a proxy.ContextDialer that has dialed before.
type dialedConn struct{ conn net.Conn }

func (d dialedConn) Dial(string, string) (net.Conn, error) { return d.conn, nil }

func (d dialedConn) DialContext(context.Context, string, string) (net.Conn, error) {
	return d.conn, nil
}
