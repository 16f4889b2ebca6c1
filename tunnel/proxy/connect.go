package proxy

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// reconnectWait bounds how long a call to an upstream that was down waits for
// a new attempt to connect.
const reconnectWait = time.Second

// waiter is a call that waits for an attempt to connect after the given one.
type waiter struct {
	after int
}

// ready waits until a call can be made. During gRPC's backoff, calls fail without
// an attempt to connect: ready then starts one, and waits until it succeeds or
// fails, for reconnectWait at most.
func (u *Upstream) ready(ctx context.Context) {
	if u.conn.GetState() != connectivity.TransientFailure {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reconnectWait)
	defer cancel()
	u.mu.Lock()
	w := &waiter{after: u.attempts}
	u.waiting[w] = cancel
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		delete(u.waiting, w)
		u.mu.Unlock()
	}()
	u.conn.ResetConnectBackoff()
	u.conn.WaitForStateChange(ctx, connectivity.TransientFailure) // it lasts until there is a connection
}

// dial begins an attempt to connect. The attempt has failed if dial fails or the
// conn is closed unused.
func (u *Upstream) dial(ctx context.Context, _ string) (net.Conn, error) {
	u.mu.Lock()
	u.attempts++
	n := u.attempts
	u.mu.Unlock()
	c, err := outbound.Dial(ctx, u.dialed, nil, nil)
	if err != nil {
		err = netdiag.Cause(err)
		u.setCause(err)
		u.ended(n)
		return nil, err
	}
	return &conn{Conn: c, u: u, looked: u.tls, closed: func() { u.ended(n) }}, nil
}

// setCause records why an attempt failed; nil means that HTTP/2 began.
func (u *Upstream) setCause(err error) {
	u.mu.Lock()
	u.cause = err
	u.mu.Unlock()
	if err == nil {
		u.logger.Debug("upstream connected", slog.String("upstream", u.addr))
	} else {
		u.logger.Debug("upstream not connected", slog.String("upstream", u.addr), slog.Any("err", err))
	}
}

// ended records that the n-th attempt, or its connection, has ended.
func (u *Upstream) ended(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.losses++
	for w, wake := range u.waiting {
		if n > w.after {
			wake()
		}
	}
}

// lossCount counts the connections that ended.
func (u *Upstream) lossCount() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.losses
}

// conn reports when it is closed and, without TLS, the first bytes of the
// upstream.
type conn struct {
	net.Conn
	u      *Upstream
	first  []byte // used by Read only
	looked bool   // used by Read only: began has first, or there is TLS
	once   sync.Once
	closed func()
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.looked {
		c.first = append(c.first, p[:min(n, netdiag.FirstBytes-len(c.first))]...)
		if c.looked = err != nil || len(c.first) == netdiag.FirstBytes || netdiag.Identify(c.first) != ""; c.looked {
			c.u.began(c.first, err)
		}
	}
	return n, err
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.closed)
	return err
}
