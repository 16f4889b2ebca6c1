package tunnel

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/url"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/ws"
)

// maxHandshakeBytes bounds how much is read before the session begins, without the TLS
// handshake.
const maxHandshakeBytes = 1 << 20

// isSecure reports whether the scheme of u is one with TLS.
func isSecure(u *url.URL) bool { return u.Scheme == "wss" || u.Scheme == "https" }

// connect returns a connection to the host of u, with TLS if the scheme is one with TLS.
func connect(ctx context.Context, u, through *url.URL, config *tls.Config) (net.Conn, error) {
	port := "80"
	if isSecure(u) {
		port = "443"
	}
	host, err := outbound.ASCIIHost(u.Hostname())
	if err != nil {
		return nil, err
	}
	addr := outbound.Addr{Network: "tcp", Address: net.JoinHostPort(host, cmp.Or(u.Port(), port))}
	conn, err := outbound.Dial(ctx, addr, through, config)
	if err != nil || !isSecure(u) {
		return conn, err
	}
	return handshakeTLS(ctx, conn, config, host)
}

// handshakeTLS returns a TLS connection on conn. It verifies the certificate for host, or
// for the name in config if there is one. After an error, conn is closed.
func handshakeTLS(ctx context.Context, conn net.Conn, config *tls.Config, host string) (net.Conn, error) {
	config = config.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = cmp.Or(config.ServerName, host)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	secure := tls.Client(ws.BatchRecords(conn), config)
	err := secure.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(secure.ConnectionState(), err)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// handshakeConn is the connection below gorilla's WebSocket. It skips interim responses,
// which gorilla takes for the response.
type handshakeConn struct {
	*boundedConn
	in      *bufio.Reader // of boundedConn
	skipped bool          // interim responses have been skipped
}

func newHandshakeConn(conn net.Conn) *handshakeConn {
	bounded := &boundedConn{Conn: conn, bounded: true}
	return &handshakeConn{boundedConn: bounded, in: bufio.NewReader(bounded)}
}

func (c *handshakeConn) Read(p []byte) (int, error) {
	if !c.skipped {
		c.skipped = true
		if err := outbound.SkipInterim(c.in); err != nil {
			return 0, err
		}
	}
	return c.in.Read(p)
}

// boundedConn bounds how much is read during the handshake, because http.ReadResponse
// accepts a header of any length.
type boundedConn struct {
	net.Conn
	bounded bool   // during the handshake
	read    int    // bytes read while bounded
	first   []byte // the first of these bytes, at most netdiag.FirstBytes
}

// NetConn returns the wrapped connection.
func (c *boundedConn) NetConn() net.Conn { return c.Conn }

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.bounded {
		c.first = append(c.first, p[:min(n, netdiag.FirstBytes-len(c.first))]...)
		if c.read += n; c.read > maxHandshakeBytes {
			return 0, errors.New("handshake: the answer is too long")
		}
	}
	return n, err
}
