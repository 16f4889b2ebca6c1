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
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// plain connects to a gRPC server directly, without a session.
type plain struct {
	text    string // the address as given
	addr    outbound.Addr
	through *url.URL      // the proxy; nil: none
	timeout time.Duration // 0: none
	tls     *tls.Config   // nil: no TLS

	mu    sync.Mutex
	cause error  // why the last attempt failed; nil once HTTP/2 can begin
	lost  error  // why reading from the last connection ended
	seen  []byte // the server's first bytes
}

// newPlain checks the flags for a plain server. The --header flags become t's
// metadata.
func newPlain(c *cli.Context, t *target, text string) (*plain, error) {
	if err := rejectFlags(c, "a WebSocket: give its URL", "accept", "path", "token-file", "token-header", "allow-unauthenticated",
		"subprotocol", "origin", "ping-interval", "ping-timeout", "yamux-role", "window"); err != nil {
		return nil, err
	}
	d := &plain{text: text, timeout: c.Duration("connect-timeout")}
	var err error
	if d.addr, err = outbound.ParseAddr(text); err != nil {
		return nil, &usageError{err: err, hint: "a TARGET is such an address of a gRPC server, or the URL of a WebSocket"}
	}
	if err := notNegative(c, "connect-timeout"); err != nil {
		return nil, err
	}
	if t.header, err = grpcMetadata(c, "header"); err != nil {
		return nil, err
	}
	if d.addr.Network == "tcp" {
		if d.through, err = outbound.ProxyFor(c.String("proxy"), &url.URL{Scheme: "https", Host: d.addr.Address}); err != nil {
			return nil, usagef("--proxy: %w", err)
		}
	}
	files, err := newTLSFiles("--", c.Path("cert"), c.Path("key"), c.Path("cacert"))
	if err != nil {
		return nil, err
	}
	if files.serverName, files.insecure = c.String("servername"), c.Bool("insecure"); c.Bool("tls") {
		d.tls = files.client(t.logger)
	} else if files.certificate != nil || files.authorities != nil || files.serverName != "" || files.insecure {
		return nil, &usageError{err: errors.New("TLS flags for a plain server without --tls"), hint: "say --tls, too"}
	}
	return d, nil
}

// connector returns a function that connects to the server. t closes the
// connection.
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
		creds = outbound.Credentials(d.tls, d.setCause)
	}
	authority := d.addr.Address
	if d.addr.Network == "unix" {
		authority = "localhost"
	}
	cc, err := grpc.NewClient("passthrough:///"+authority, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(d.dial), grpc.WithIdleTimeout(0),
	}, opts...)...)
	if err != nil {
		return nil, &plainError{d.text, err, ""}
	}
	if err := awaitReady(ctx, cc, d.timeout, d.failure); err != nil {
		_ = cc.Close()
		if _, ok := errors.AsType[*plainError](err); !ok {
			err = &plainError{d.text, err, ""}
		}
		return nil, err
	}
	return cc, nil
}

func (d *plain) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := outbound.Dial(ctx, d.addr, d.through, d.tls)
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

// failure returns why connecting failed.
func (d *plain) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	protocol := netdiag.Identify(d.seen)
	switch {
	case netdiag.NotTLS(d.cause):
		return &plainError{d.text, d.cause, "the server doesn't speak TLS: leave out --tls"}
	case d.cause != nil:
		return &plainError{d.text, d.cause, ""}
	case d.tls == nil && protocol == netdiag.TLSAlert,
		protocol == netdiag.HTTP1 && bytes.Contains(d.seen, []byte("HTTPS")):
		return &plainError{d.text, errors.New("the server speaks TLS"), "say --tls"}
	case protocol == netdiag.HTTP1:
		return &plainError{d.text, errors.New("the server speaks HTTP/1.1, not gRPC"), "if a WebSocket is accepted there, give its URL: ws://" + d.addr.Address + "/"}
	}
	if d.tls != nil && len(d.tls.Certificates) == 0 { // its alert may be lost with the connection
		return &plainError{d.text, errNotGRPC, "is it the port of a gRPC server? It may want a client certificate: give it with --cert and --key"}
	}
	return &plainError{d.text, errNotGRPC, "is it the port of a gRPC server? With TLS, say --tls"}
}

var errNotGRPC = errors.New("the connection ended before HTTP/2 had begun")

// plainError reports that connecting to a plain server failed.
type plainError struct {
	addr   string
	err    error
	advice string // may be empty
}

func (e *plainError) Error() string { return "dial " + e.addr + ": " + netdiag.Cause(e.err).Error() }
func (e *plainError) Unwrap() error { return e.err }
func (e *plainError) hint() string  { return e.advice }

// firstBytes keeps a server's first bytes, which show its protocol.
type firstBytes struct {
	net.Conn
	d *plain
}

func (c *firstBytes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	const maxSeen = 512 // enough for an answer that says it wants HTTPS
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if room := maxSeen - len(c.d.seen); room > 0 {
		c.d.seen = append(c.d.seen, p[:min(n, room)]...)
	}
	if err != nil {
		c.d.lost = err
	}
	return n, err
}

// awaitReady connects cc, and waits until it is connected. failure returns why it
// couldn't.
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
		case connectivity.Idle: // also after a server's immediate GOAWAY
			cc.Connect()
		}
		if !cc.WaitForStateChange(ctx, state) {
			return context.Cause(ctx)
		}
	}
	return nil
}
