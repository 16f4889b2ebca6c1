package target

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// plain is the transport to a gRPC server without a session: one gRPC connection. To
// reconnect, gRPC dials again after a loss.
type plain struct {
	client  *client
	text    string // the address as given
	addr    outbound.Addr
	through *url.URL      // the proxy; nil: none
	timeout time.Duration // 0: none
	tls     *tls.Config   // nil: no TLS
	logger  *slog.Logger
	options []grpc.DialOption
	conn    *grpc.ClientConn // nil until connect
	life    context.Context  //nolint:containedctx // until close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	cause error     // why the last attempt failed; nil once HTTP/2 can begin
	lost  error     // why reading from the last connection ended; nil while it goes on
	seen  []byte    // the server's first bytes
	reset time.Time // when current last made gRPC dial
}

// newPlain checks the flags for a plain server. It returns the values of --header as
// metadata.
func newPlain(ctx context.Context, o *Options, c *client) (*plain, metadata.MD, error) {
	if err := o.Given.Reject("a WebSocket: give its URL", "to", "inner-tls", "inner-cacert", "inner-cert", "inner-key", "accept", "path", "token-file", "token-header", "allow-unauthenticated",
		"subprotocol", "origin", "ping-interval", "ping-timeout", "yamux-role", "window", "max-ws-message"); err != nil {
		return nil, nil, err
	}
	p := &plain{client: c, text: o.Addr, timeout: o.Endpoint.ConnectTimeout, logger: o.Logger}
	var err error
	if p.addr, err = outbound.ParseAddr(o.Addr); err != nil {
		return nil, nil, &usage.Error{Err: err, Advice: "a TARGET is such an address of a gRPC server, or the URL of a WebSocket"}
	}
	if err := usage.NotNegative("connect-timeout", p.timeout); err != nil {
		return nil, nil, err
	}
	if err := o.Endpoint.CheckRetries(); err != nil {
		return nil, nil, err
	}
	header, err := endpoint.Metadata("header", o.Endpoint.Header, o.Endpoint.ExpandHeaders, o.Endpoint.Secrets)
	if err != nil {
		return nil, nil, err
	}
	if p.addr.Network == "tcp" {
		if p.through, err = outbound.ProxyFor(o.Endpoint.Proxy, &url.URL{Scheme: "https", Host: p.addr.Address}); err != nil {
			return nil, nil, usage.Errorf("--proxy: %w", err)
		}
	}
	files, err := endpoint.NewTLS("--", &o.Endpoint.TLS)
	if err != nil {
		return nil, nil, err
	}
	if o.UseTLS {
		p.tls = files.Client(o.Logger)
	} else if flag := files.Flag(); flag != "" {
		advice := "use --tls, too"
		if o.Given["plaintext"] {
			advice = "use --tls instead of --plaintext"
		}
		return nil, nil, &usage.Error{Err: errors.New(flag + " for a plain server without --tls"), Advice: advice}
	}
	p.options = o.dialOptions()
	if o.Reconnect {
		p.options = append(p.options, grpc.WithConnectParams(connectParams(p.timeout, o.Endpoint.MaxRetryInterval)))
	}
	p.life, p.stop = context.WithCancel(ctx)
	return p, header, nil
}

// connectParams returns how gRPC dials again.
func connectParams(timeout, maxInterval time.Duration) grpc.ConnectParams {
	const noTimeout = 24 * time.Hour
	params := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: timeout}
	params.Backoff.BaseDelay = min(200*time.Millisecond, maxInterval)
	params.Backoff.MaxDelay = maxInterval
	if timeout == 0 {
		params.MinConnectTimeout = noTimeout
	}
	return params
}

func (p *plain) connect(ctx context.Context) error {
	creds := insecure.NewCredentials()
	if p.tls != nil {
		creds = outbound.Credentials(p.tls, p.setCause)
	}
	var err error
	p.conn, err = grpc.NewClient("passthrough:///"+p.addr.Authority(), slices.Concat(wsmux.ClientOptions(creds, p.logger), []grpc.DialOption{
		grpc.WithContextDialer(p.dial), grpc.WithIdleTimeout(0),
	}, p.options)...)
	if err != nil {
		return &plainError{p.text, err, ""}
	}
	if err := awaitReady(ctx, p.conn, p.timeout, p.failure); err != nil {
		if _, ok := errors.AsType[*plainError](err); !ok {
			err = &plainError{p.text, err, ""}
		}
		return err
	}
	if p.client.reconnect {
		p.running.Go(p.watch)
	}
	return nil
}

func (p *plain) close() {
	p.stop()
	p.running.Wait()
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// watch makes gRPC dial again after a loss, and reports both.
func (p *plain) watch() {
	up := true
	for state := connectivity.Ready; ; {
		if state == connectivity.Idle {
			p.conn.Connect()
		}
		switch ready := state == connectivity.Ready; {
		case up && !ready:
			p.client.say("connection down: %v", p.loss())
		case !up && ready:
			p.client.reconnected("connection")
		}
		up = state == connectivity.Ready
		if !p.conn.WaitForStateChange(p.life, state) {
			return
		}
		state = p.conn.GetState()
	}
}

func (p *plain) current(ctx context.Context) (*grpc.ClientConn, error) {
	if !p.client.reconnect {
		return p.conn, nil // gRPC's own errors say why a call fails
	}
	for state := p.conn.GetState(); state != connectivity.Ready; state = p.conn.GetState() {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("no connection: %w", p.failure())
		}
		p.dialNow()
		waiting, cancel := context.WithTimeout(ctx, minDialInterval)
		p.conn.WaitForStateChange(waiting, state)
		cancel()
	}
	return p.conn, nil
}

// minDialInterval is the least time between two dials that a waiting call causes, as with
// sessions.
const minDialInterval = 250 * time.Millisecond

// dialNow ends gRPC's delay before the next dial, unless that was done just now.
func (p *plain) dialNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.reset) >= minDialInterval {
		p.reset = time.Now()
		p.conn.ResetConnectBackoff()
	}
}

// loss returns why the connection was lost. If gRPC has left it first, the server has sent
// GOAWAY.
func (p *plain) loss() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.lost == nil, errors.Is(p.lost, net.ErrClosed):
		return errors.New("the server is draining: it takes no new calls, and lets open ones finish")
	case errors.Is(p.lost, io.EOF):
		return errors.New("the server has closed it")
	}
	return netdiag.Cause(p.lost)
}

func (p *plain) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := outbound.Dial(ctx, p.addr, p.through, p.tls)
	p.setCause(err)
	if err != nil {
		return nil, err
	}
	return &firstBytes{Conn: conn, p: p}, nil
}

func (p *plain) setCause(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause, p.seen = err, nil
	if err == nil {
		p.lost = nil
	}
}

// failure returns why connecting failed.
func (p *plain) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	protocol := netdiag.Identify(p.seen)
	switch {
	case netdiag.NotTLS(p.cause):
		return &plainError{p.text, p.cause, "the server doesn't speak TLS: leave out --tls"}
	case p.cause != nil:
		return &plainError{p.text, p.cause, ""}
	case p.tls == nil && protocol == netdiag.TLSAlert,
		protocol == netdiag.HTTP1 && bytes.Contains(p.seen, []byte("HTTPS")):
		return &plainError{p.text, errors.New("the server speaks TLS"), "use --tls"}
	case protocol == netdiag.HTTP1:
		return &plainError{p.text, errors.New("the server speaks HTTP/1.1, not gRPC"), "if a WebSocket is accepted there, give its URL: ws://" + p.addr.String() + "/"}
	}
	const advice = "is it the port of a gRPC server? "
	switch { // a TLS alert may be lost with the connection
	case p.tls == nil:
		return &plainError{p.text, errNotGRPC, advice + "With TLS, use --tls"}
	case len(p.tls.Certificates) == 0:
		return &plainError{p.text, errNotGRPC, advice + "It may want a client certificate: give it with --cert and --key"}
	}
	return &plainError{p.text, errNotGRPC, advice + "It may not trust the client certificate of --cert"}
}

// plainError reports that connecting to a plain server failed.
type plainError struct {
	addr   string
	err    error
	advice string // may be empty
}

func (e *plainError) Error() string { return "dial " + e.addr + ": " + netdiag.Cause(e.err).Error() }
func (e *plainError) Unwrap() error { return e.err }

func (e *plainError) Hint() string {
	if mt, ok := errors.AsType[*maxTimeError](e.err); ok {
		return mt.Hint()
	}
	return e.advice
}

// firstBytes records a server's first bytes, which show its protocol.
type firstBytes struct {
	net.Conn
	p *plain
}

func (c *firstBytes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	const maxSeen = 512 // enough for an answer that says it wants HTTPS
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if room := maxSeen - len(c.p.seen); room > 0 {
		c.p.seen = append(c.p.seen, p[:min(n, room)]...)
	}
	if err != nil {
		c.p.lost = err
	}
	return n, err
}
