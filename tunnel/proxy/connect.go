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

// reconnectWait bounds how long a call waits for an attempt to connect to an upstream that
// is down.
const reconnectWait = time.Second

// waiter is a call that waits for an attempt to connect.
type waiter struct {
	after int // number of the last attempt that it doesn't wait for
}

// ready prepares for a call. During gRPC's backoff, calls fail without an attempt to
// connect: ready then starts one and waits, up to reconnectWait, until it succeeds or
// fails.
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
	u.conn.WaitForStateChange(ctx, connectivity.TransientFailure) // lasts until an attempt succeeds
}

// dial starts an attempt to connect. It ends with the dial or, if that succeeds, with the
// connection.
func (u *Upstream) dial(ctx context.Context, _ string) (net.Conn, error) {
	u.mu.Lock()
	u.attempts++
	n := u.attempts
	u.mu.Unlock()
	c, err := outbound.Dial(ctx, u.dialed, nil, nil)
	if err != nil {
		err = netdiag.Cause(err)
		u.setCause(err)
		u.recordEnd(n)
		return nil, err
	}
	return &conn{Conn: c, u: u, identified: u.tls, closed: func() { u.recordEnd(n) }}, nil
}

// setCause records why an attempt failed, nil if it succeeded.
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

// recordEnd records that the n-th attempt, or its connection, has ended.
func (u *Upstream) recordEnd(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.losses++
	for w, wake := range u.waiting {
		if n > w.after {
			wake()
		}
	}
}

// lossCount returns the number of attempts and connections that have ended.
func (u *Upstream) lossCount() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.losses
}

// conn reports its Close and, without TLS, the upstream's first bytes.
type conn struct {
	net.Conn
	u          *Upstream
	first      []byte // used by Read only
	identified bool   // used by Read only: first is reported, or the connection uses TLS
	once       sync.Once
	closed     func()
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.identified {
		c.first = append(c.first, p[:min(n, netdiag.FirstBytes-len(c.first))]...)
		if c.identified = err != nil || len(c.first) == netdiag.FirstBytes || netdiag.Identify(c.first) != ""; c.identified {
			c.u.recordFirstBytes(c.first, err)
		}
	}
	return n, err
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.closed)
	return err
}
