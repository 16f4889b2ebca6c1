package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// DefaultConnectTimeout is the default of DialOptions.ConnectTimeout.
const DefaultConnectTimeout = 10 * time.Second

// DialOptions adjusts Dial. Its zero value and nil mean the defaults.
type DialOptions struct {
	// Header is sent with the handshake. Default: none.
	Header http.Header

	// TLS is used for wss. Default: the system's root certificates and the host name
	// of the URL.
	TLS *tls.Config

	// Proxy is the URL of an outbound proxy, or "none": see [outbound.ProxyFor].
	// Default: the proxy of the environment.
	Proxy string

	// Subprotocols are offered in the handshake. Default: none.
	Subprotocols []string

	// Upgraded, if set, receives the header of the response that accepts the handshake.
	Upgraded func(header http.Header)

	// ConnectTimeout bounds the time from resolving the host name to the response to
	// the handshake; negative: no limit. Default: DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Session adjusts the session.
	Session SessionOptions
}

// DialError reports that a dial failed.
type DialError struct {
	URL string // as given, without secrets; empty if it can't be parsed
	Err error  // a *HandshakeError if the peer responded, otherwise a network, proxy or TLS error

	secrets *escape.Secrets // of the handshake; nil: none
}

// Error returns one short line. Parts of it may be from the peer: they are escaped, and
// secrets are masked.
func (e *DialError) Error() string {
	if e.URL == "" {
		return "dial: " + e.Reason()
	}
	return "dial " + escape.Line(e.URL) + ": " + e.Reason()
}

// Reason is Error without the URL.
func (e *DialError) Reason() string {
	return netdiag.Truncate(escape.Line(e.secrets.Mask(netdiag.Cause(e.Err).Error())), maxCauseText)
}

func (e *DialError) Unwrap() error { return e.Err }

// Dial dials a WebSocket and starts a session on it, which the caller closes. The scheme
// of rawURL is ws, wss, http or https. Its host may be internationalized. Its user and password are sent as
// Authorization: Basic (RFC 7617) unless opts.Header has an Authorization. opts may be
// nil. The error is a *DialError.
func Dial(ctx context.Context, rawURL string, opts *DialOptions) (*wsmux.Session, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	conn, err := DialWebSocket(ctx, rawURL, opts)
	if err != nil {
		return nil, err
	}
	session, err := opts.Session.Start(conn, wsmux.Dialing, 0)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	return session, nil
}

// DialWebSocket is Dial without the session: it ignores opts.Session, and the caller
// closes the WebSocket. It calls the functions of a [net/http/httptrace.ClientTrace] in
// ctx for DNS, for TCP connections, and for TLS with the target. It calls GotConn before
// the handshake of the WebSocket.
func DialWebSocket(ctx context.Context, rawURL string, opts *DialOptions) (*websocket.Conn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	conn, err := dial(ctx, u, opts)
	if err != nil {
		_, header := request(u, opts.Header)
		return nil, &DialError{outbound.RedactURL(rawURL), err, secrets(u, header)}
	}
	return conn, nil
}

// DialTransport dials the host of a WebSocket's URL, through a proxy if there is one, and
// with TLS for wss and https, and returns the connection before the handshake of the
// WebSocket. It ignores opts.Header, opts.Subprotocols and opts.Session. The error is a
// *DialError.
func DialTransport(ctx context.Context, rawURL string, opts *DialOptions) (net.Conn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	if timeout := orDefault(opts.ConnectTimeout, DefaultConnectTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, netdiag.TimeoutError(timeout))
		defer cancel()
	}
	through, err := outbound.ProxyFor(opts.Proxy, u)
	if err == nil {
		var conn net.Conn
		if conn, err = connect(ctx, u, through, opts.TLS); err == nil {
			limitUnsent(conn)
			return conn, nil
		}
	}
	return nil, &DialError{outbound.RedactURL(rawURL), err, secrets(u, nil)}
}

func dial(ctx context.Context, u *url.URL, opts *DialOptions) (*websocket.Conn, error) {
	if timeout := orDefault(opts.ConnectTimeout, DefaultConnectTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, netdiag.TimeoutError(timeout))
		defer cancel()
	}
	through, err := outbound.ProxyFor(opts.Proxy, u)
	if err != nil {
		return nil, err
	}
	target, header := request(u, opts.Header)

	// gorilla ignores ctx once the connection is established, so the end of ctx closes
	// that. gorilla takes the connection for one without TLS, because only a wrapper above
	// TLS can hide interim responses from it.
	var conn *handshakeConn
	var release func() bool
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := connect(ctx, u, through, opts.TLS)
			if err != nil {
				return nil, err
			}
			conn = newHandshakeConn(c)
			release = context.AfterFunc(ctx, func() { _ = belowTLS(c).Close() }) // may run concurrently: c must not be assigned any more
			return conn, nil
		},
		Subprotocols:    opts.Subprotocols,
		ReadBufferSize:  readBuffer,
		WriteBufferPool: writeBuffers,
	}
	upgraded, resp, err := dialer.DialContext(ctx, target.String(), header)
	if resp != nil {
		defer resp.Body.Close()
	}
	// If release returns false, the end of ctx closes the connection.
	if release != nil && !release() && err == nil {
		_ = upgraded.Close()
		err = context.Cause(ctx)
	}
	if err == nil {
		conn.bounded = false
		if opts.Upgraded != nil {
			opts.Upgraded(resp.Header)
		}
		return upgraded, nil
	}
	if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
		return nil, newHandshakeError(resp, u, header)
	}
	if pe, ok := errors.AsType[*outbound.ProxyError](err); ok {
		return nil, pe // without gorilla's text
	}
	if conn != nil && !isSecure(u) {
		if err := otherProtocol(conn.first); err != nil {
			return nil, err
		}
	}
	// gorilla also sets ctx's deadline on the connection, which may time out first.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if conn != nil && netdiag.PeerClosed(err) {
		err = fmt.Errorf("handshake: %w", netdiag.Cause(err))
	}
	return nil, err
}

// HandshakeRequest returns the URL and the header of the handshake that Dial sends for
// rawURL and a header, without those that RFC 6455 §4.1 requires. The URL has no user and
// password: they are in the header. The host is in ASCII, and the query is encoded.
func HandshakeRequest(rawURL string, header http.Header) (*url.URL, http.Header, error) {
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	u, header = request(u, header)
	return u, header, nil
}

// request returns the URL and the header for gorilla. The URL has the scheme ws, because
// TLS is below the connection that gorilla gets. request moves the user and password of u
// to the header, unless that has an Authorization, and encodes the host, whose error
// outbound.ParseURL has returned, and the query.
func request(u *url.URL, header http.Header) (*url.URL, http.Header) {
	r := http.Request{Header: header.Clone()}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if u.User != nil && r.Header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		r.SetBasicAuth(u.User.Username(), password)
	}
	target := *u
	target.Scheme = "ws"
	target.User = nil
	target.Host, _ = outbound.ASCIIHost(u.Host)
	target.RawQuery = encodeQuery(u.RawQuery)
	return &target, r.Header
}

// encodeQuery percent-encodes the spaces and the non-ASCII characters of a query, which
// [url.Parse] accepts and HTTP doesn't (RFC 3986 §3.4).
func encodeQuery(query string) string {
	encoded := make([]byte, 0, len(query))
	for _, c := range []byte(query) {
		if c <= ' ' || c >= utf8.RuneSelf {
			encoded = fmt.Appendf(encoded, "%%%02X", c)
		} else {
			encoded = append(encoded, c)
		}
	}
	return string(encoded)
}

// readBuffer is the size of gorilla's read buffer in bytes. Larger reads bypass it.
const readBuffer = 16 * 1024

// writeBuffers is shared so that idle connections use no write buffer.
var writeBuffers = &sync.Pool{}
