package target

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/backend"
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
	down string // the upstreams that the server has reported as down
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
	stream, err := cc.NewStream(ctx, desc, method, opts...)
	if err == nil && strings.HasPrefix(method, "/grpc.reflection.") {
		stream = &reflectionStream{ClientStream: stream, client: c}
	}
	return stream, err
}

// reflectionStream is a stream of reflection. It reports the upstreams of the server that
// are down, because their services may be missing.
type reflectionStream struct {
	grpc.ClientStream
	client   *client
	reported bool
}

func (s *reflectionStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if !s.reported && err == nil {
		s.reported = true
		if md, err := s.Header(); err == nil {
			s.client.reportDown(strings.Join(md[backend.DownKey], "; "))
		}
	}
	return err
}

// reportDown prints the upstreams that are down, if they have changed.
func (c *client) reportDown(down string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if down != c.down && down != "" {
		c.say("%s", down)
	}
	c.down = down
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
