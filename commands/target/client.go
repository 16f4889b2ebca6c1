package target

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// client is a [grpc.ClientConnInterface] of a gRPC server.
type client struct {
	transport
	wait      time.Duration // of ready
	reconnect bool
	say       func(format string, args ...any)

	mu   sync.Mutex
	onUp func() // called after each reconnection
}

// transport is the connection to the server: plain or sessions.
type transport interface {
	// connect blocks until the server answers.
	connect(ctx context.Context) error

	// current returns the connection that is up. It waits for one until ctx ends, and
	// then returns why there is none.
	current(ctx context.Context) (*grpc.ClientConn, error)

	// close ends the connection. It may be called without connect.
	close()
}

// setOnUp sets onUp.
func (c *client) setOnUp(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onUp = f
}

// reconnected reports that the connection is up again.
func (c *client) reconnected(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onUp != nil {
		c.onUp()
	}
	c.say("%s up", name)
}

// ready waits until the server can be called, and returns why it can't.
func (c *client) ready(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	_, err := c.current(waiting)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// now returns the connection that is up. The error is a status.
func (c *client) now(ctx context.Context) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	cc, err := c.current(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "wstun: "+err.Error())
	}
	return cc, nil
}

// Invoke implements grpc.ClientConnInterface.
func (c *client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	cc, err := c.now(ctx)
	if err != nil {
		return err
	}
	return cc.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cc, err := c.now(ctx)
	if err != nil {
		return nil, err
	}
	return cc.NewStream(ctx, desc, method, opts...)
}

var errNotGRPC = errors.New("the connection ended before HTTP/2 had begun")

// awaitReady connects cc, and waits until it is connected. failure returns why it
// couldn't. timeout 0 means no limit.
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
