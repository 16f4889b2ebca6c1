package commands

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
)

// plain is the way to a gRPC server that is not behind a session.
type plain struct {
	addr             string // as given
	network, address string
	proxy            string
	timeout          time.Duration // 0: none
	tls              *tls.Config   // nil: no TLS
	serverName       string        // default: the authority

	mu    sync.Mutex
	cause error  // why the last attempt failed; nil if HTTP/2 was to begin
	lost  error  // why the last connection could be read no more
	seen  []byte // what the server has sent first
}

// newPlain checks the flags for a plain server. What --header gives becomes t's
// metadata.
func newPlain(c *cli.Context, t *target, addr string) (*plain, error) {
	if err := rejectFlags(c, "a WebSocket: give its URL", "accept", "path", "token-file", "token-header", "allow-unauthenticated",
		"subprotocol", "origin", "ping-interval", "ping-timeout", "yamux-role", "window"); err != nil {
		return nil, err
	}
	d := &plain{addr: addr, proxy: c.String("proxy"), timeout: c.Duration("connect-timeout")}
	var err error
	if d.network, d.address, err = splitAddr(addr); err != nil {
		return nil, &usageError{err: err, hint: "a TARGET is such an address of a gRPC server, or the URL of a WebSocket"}
	}
	if err := notNegative(c, "connect-timeout"); err != nil {
		return nil, err
	}
	if t.header, err = grpcMetadata(c, "header"); err != nil {
		return nil, err
	}
	if d.network == "tcp" {
		if err := tunnel.CheckProxy(d.proxy, &url.URL{Scheme: "https", Host: d.address}); err != nil {
			return nil, usagef("--proxy: %w", err)
		}
	}
	files, err := newTLSFiles("--", c.Path("cert"), c.Path("key"), c.Path("cacert"))
	if err != nil {
		return nil, err
	}
	if files.serverName, files.insecure = c.String("servername"), c.Bool("insecure"); c.Bool("tls") {
		d.tls, d.serverName = files.client(t.logger), files.serverName
	} else if files.certificate != nil || files.authorities != nil || files.serverName != "" || files.insecure {
		return nil, &usageError{err: errors.New("TLS flags for a plain server without --tls"), hint: "say --tls, too"}
	}
	return d, nil
}

// connector returns what connects to the server. t closes the connection.
func (d *plain) connector(t *target, opts []grpc.DialOption) func(context.Context) (grpc.ClientConnInterface, error) {
	return func(ctx context.Context) (grpc.ClientConnInterface, error) {
		cc, err := d.connect(ctx, opts)
		if err != nil {
			return nil, err
		}
		t.cleanups = append(t.cleanups, func() { _ = cc.Close() })
		return cc, nil
	}
}

// connect returns a connection that is up.
func (d *plain) connect(ctx context.Context, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if d.tls != nil {
		creds = &plainTLS{credentials.NewTLS(d.tls), d}
	}
	authority := d.address
	if d.network == "unix" {
		authority = "localhost"
	}
	cc, err := grpc.NewClient("passthrough:///"+authority, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(d.dial), grpc.WithIdleTimeout(0),
	}, opts...)...)
	if err != nil {
		return nil, &plainError{d.addr, err, ""}
	}
	if err := awaitReady(ctx, cc, d.timeout, d.failure); err != nil {
		_ = cc.Close()
		if _, ok := errors.AsType[*plainError](err); !ok {
			err = &plainError{d.addr, err, ""}
		}
		return nil, err
	}
	return cc, nil
}

func (d *plain) dial(ctx context.Context, _ string) (net.Conn, error) {
	var conn net.Conn
	var err error
	if d.network == "unix" {
		conn, err = new(net.Dialer).DialContext(ctx, d.network, d.address)
	} else {
		conn, err = tunnel.DialTCP(ctx, d.address, d.proxy, d.tls)
	}
	d.setCause(err)
	if err != nil {
		return nil, err
	}
	return &firstBytes{Conn: conn, d: d}, nil
}

func (d *plain) setCause(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cause, d.seen = err, nil
}

// failure is why there is no connection.
func (d *plain) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	protocol := netdiag.Identify(d.seen)
	switch {
	case netdiag.NotTLS(d.cause):
		return &plainError{d.addr, d.cause, "the server doesn't speak TLS: leave out --tls"}
	case d.cause != nil:
		return &plainError{d.addr, d.cause, ""}
	case d.tls == nil && protocol == netdiag.TLSAlert,
		protocol == netdiag.HTTP1 && bytes.Contains(d.seen, []byte("HTTPS")):
		return &plainError{d.addr, errors.New("the server speaks TLS"), "say --tls"}
	case protocol == netdiag.HTTP1:
		return &plainError{d.addr, errors.New("the server speaks HTTP/1.1, not gRPC"), "if a WebSocket is accepted there, give its URL: ws://" + d.address + "/"}
	}
	if d.tls != nil && len(d.tls.Certificates) == 0 { // its alert may be lost with the connection
		return &plainError{d.addr, errNotGRPC, "is it the port of a gRPC server? It may want a client certificate: give it with --cert and --key"}
	}
	return &plainError{d.addr, errNotGRPC, "is it the port of a gRPC server? With TLS, say --tls"}
}

var errNotGRPC = errors.New("the connection ended before HTTP/2 had begun")

// plainError is why there is no connection to a plain server.
type plainError struct {
	addr   string
	err    error
	advice string // may be empty
}

func (e *plainError) Error() string { return "dial " + e.addr + ": " + netdiag.Cause(e.err).Error() }
func (e *plainError) Unwrap() error { return e.err }
func (e *plainError) hint() string  { return e.advice }

// firstBytes keeps what a server sends first: it tells what it speaks.
type firstBytes struct {
	net.Conn
	d *plain
}

func (c *firstBytes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	const enough = 512
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if room := enough - len(c.d.seen); room > 0 {
		c.d.seen = append(c.d.seen, p[:min(n, room)]...)
	}
	if err != nil {
		c.d.lost = err
	}
	return n, err
}

// plainTLS is TLS that keeps why a handshake failed, and whose server name need not
// be the authority.
type plainTLS struct {
	credentials.TransportCredentials
	d *plain
}

func (h *plainTLS) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if h.d.serverName != "" {
		authority = h.d.serverName
	}
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, c)
	if err != nil {
		h.d.setCause(err)
		return nil, nil, err
	}
	return &alertConn{conn, h.d}, info, nil
}

// alertConn keeps what a server refuses after the handshake: a client's certificate,
// since TLS 1.3.
type alertConn struct {
	net.Conn
	d *plain
}

func (c *alertConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if netdiag.Alert(err) != "" {
		c.d.setCause(err)
	}
	return n, err
}

// Info hides the server name, which gRPC would want to be the authority.
func (h *plainTLS) Info() credentials.ProtocolInfo {
	info := h.TransportCredentials.Info()
	info.ServerName = "" //nolint:staticcheck // deprecated, but still looked at
	return info
}

func (h *plainTLS) Clone() credentials.TransportCredentials {
	return &plainTLS{h.TransportCredentials.Clone(), h.d}
}

// awaitReady connects cc, and waits until it has. failure says why it hasn't.
func awaitReady(ctx context.Context, cc *grpc.ClientConn, timeout time.Duration, failure func() error) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, netdiag.TimeoutError(timeout))
		defer cancel()
	}
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
		switch state {
		case connectivity.TransientFailure, connectivity.Shutdown:
			return failure()
		case connectivity.Idle: // also after a server that says GOAWAY at once
			cc.Connect()
		}
		if !cc.WaitForStateChange(ctx, state) {
			return context.Cause(ctx)
		}
	}
	return nil
}
