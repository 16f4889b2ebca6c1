package tunnel

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
)

// headListener keeps the head of the first request on each connection.
type headListener struct {
	net.Listener
	log *log.Logger // of the server
}

func (l headListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn, log: l.log}, nil
}

// headConn keeps the bytes that are read up to the end of the first request's head.
type headConn struct {
	net.Conn
	log      *log.Logger // of the server; nil after the TLS handshake
	head     []byte
	complete bool // or too long; when the server has parsed the request, it is true
}

// NetConn returns the wrapped connection.
func (c *headConn) NetConn() net.Conn { return c.Conn }

func (c *headConn) Read(p []byte) (int, error) {
	if c.log != nil {
		if err := c.handshake(); err != nil {
			return 0, err
		}
		c.log = nil
	}
	n, err := c.Conn.Read(p)
	if c.complete {
		return n, err
	}
	scanned := len(c.head)
	c.head = append(c.head, p[:n]...)
	if size := headSize(c.head, scanned); size > 0 {
		c.head, c.complete = c.head[:size], true
	} else if len(c.head) > maxHead {
		c.head, c.complete = nil, true
	}
	return n, err
}

// handshake completes the TLS handshake, if there is TLS, and reports a failure like
// net/http's server, which doesn't see the TLS connection.
func (c *headConn) handshake() error {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	err := secure.Handshake() //nolint:noctx // the server has set a deadline
	if err == nil {
		return nil
	}
	reason := err.Error()
	if re, ok := errors.AsType[tls.RecordHeaderError](err); ok && re.Conn != nil && string(re.RecordHeader[:]) == "GET /" {
		reason = "client sent an HTTP request to an HTTPS server"
		_, _ = io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		_ = re.Conn.Close()
	}
	c.log.Printf("http: TLS handshake error from %s: %s", c.RemoteAddr(), reason)
	return err
}

// maxHead is how long a head may be: net/http's limit, which is larger than that of the
// server by the size of a buffer.
const maxHead = maxHeaderBytes + 4096

// headSize returns the length of the head in p, or 0 if its end isn't in p[scanned:].
// Like net/http, it takes lines that end without a carriage return.
func headSize(p []byte, scanned int) int {
	for i := scanned; i < len(p); i++ {
		if p[i] == '\n' && (bytes.HasSuffix(p[:i], []byte("\n")) || bytes.HasSuffix(p[:i], []byte("\n\r"))) {
			return i + 1
		}
	}
	return 0
}

// Head returns the bytes of the head of r, as they were received: the request line, the
// header lines and the empty line. r is the request of AcceptOptions.Upgrade with
// AcceptOptions.KeepHead. It returns nil if a line doesn't end with CR LF, because others
// may then find other lines and another end in the head (RFC 9112 §2.2), or if r isn't the
// first request on its connection.
func Head(r *http.Request) []byte {
	conn, ok := r.Context().Value(connKey{}).(*headConn)
	if !ok || bytes.Count(conn.head, []byte("\n")) != bytes.Count(conn.head, []byte("\r\n")) {
		return nil
	}
	return conn.head
}

// hijack takes the connection of a handshake. The result's first bytes are those that have
// already been read after the head.
func hijack(w http.ResponseWriter) (net.Conn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	limitUnsent(conn)
	if hc, ok := conn.(*headConn); ok {
		conn = hc.Conn
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		first, _ := buffered.Peek(n)
		conn = &prefixedConn{conn, bytes.Clone(first)}
	}
	return conn, nil
}

// prefixedConn is a connection whose first bytes have already been read.
type prefixedConn struct {
	net.Conn
	first []byte
}

// NetConn returns the wrapped connection.
func (c *prefixedConn) NetConn() net.Conn { return c.Conn }

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}
