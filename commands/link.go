package commands

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// link is the way to a gRPC server that is brought up again when it's lost, as
// keptSessions or keptPlain does. Calls fail while it's down.
type link struct {
	life             context.Context //nolint:containedctx // that of the command, which it outlasts connecting for
	wait             time.Duration   // of ready
	maxRetries       int             // of a session's dialing; negative: no limit
	maxRetryInterval time.Duration
	say              func(format string, args ...any)
	fail             func(error) // called when it can't be brought up again

	// current returns the connection that is up. If there is none it waits until ctx
	// ends, and returns why.
	current func(ctx context.Context) (*grpc.ClientConn, error)

	mu sync.Mutex
	up func() // called when the link is up again
}

// onUp sets what is called whenever the link is up again.
func (l *link) onUp(up func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
}

// isUp tells that the link is up again.
func (l *link) isUp(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up != nil {
		l.up()
	}
	l.say("%s up", what)
}

// ready waits until the link is up, and returns why it isn't.
func (l *link) ready(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	_, err := l.current(waiting)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// now returns the connection that is up, or why there is none, as a status.
func (l *link) now(ctx context.Context) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	cc, err := l.current(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "wstun: "+err.Error())
	}
	return cc, nil
}

// Invoke implements grpc.ClientConnInterface.
func (l *link) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	cc, err := l.now(ctx)
	if err != nil {
		return err
	}
	return cc.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (l *link) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cc, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return cc.NewStream(ctx, desc, method, opts...)
}
