package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// keptSessions is a link that keeps a session up.
type keptSessions struct {
	*link
	endpoint *endpoint
	out      *output
	timeout  time.Duration // of the first wait for the gRPC server; 0: none
	options  []grpc.DialOption
	sessions *tunnel.Sessions
	refusal  *rawBackend
	first    chan *tunnel.Session

	mu        sync.Mutex // guards the fields below
	newest    *tunnel.Session
	conns     map[*tunnel.Session]*grpc.ClientConn
	lost      []*grpc.ClientConn // of ended sessions; their calls may still be returning errors
	connected bool               // to a gRPC server, through the first one
	closing   bool
}

// newKeptSessions checks the flags of sessions, and returns a function that waits for
// the first session and keeps one up until t is closed: by dialing url, or accepting
// at --accept if url is empty.
func newKeptSessions(c *cli.Context, t *target, url string) (func(context.Context) (grpc.ClientConnInterface, error), error) {
	e, err := newConnection(c, wsmux.Client, url, endpoint{})
	if err != nil {
		return nil, err
	}
	e.acceptOptions.MaxSessions = defaultMaxSessions // a session whose peer has vanished must not block the next one
	k := &keptSessions{
		link: t.link, endpoint: e, out: &output{logger: t.logger}, timeout: c.Duration("connect-timeout"), options: dialOptions(c),
		first: make(chan *tunnel.Session, 1), conns: map[*tunnel.Session]*grpc.ClientConn{},
	}
	k.sessions = &tunnel.Sessions{}
	k.sessions.Subscribe(tunnel.Subscriber{Up: k.sessionUp, Down: k.sessionDown})
	k.current = k.conn
	return func(ctx context.Context) (grpc.ClientConnInterface, error) {
		if err := k.connect(ctx, t); err != nil {
			return nil, err
		}
		return k.link, nil
	}, nil
}

func (k *keptSessions) sessionUp(s *tunnel.Session) {
	k.refusal.serveStreams(s)
	cc, err := s.DialGRPC(k.options...)
	if err != nil {
		s.CloseWithError(err)
		return
	}
	k.mu.Lock()
	first := k.newest == nil
	k.newest, k.conns[s] = s, cc
	lost := k.lost
	k.lost = nil
	k.mu.Unlock()
	for _, cc := range lost {
		_ = cc.Close()
	}
	if first {
		k.first <- s
	} else {
		k.isUp("session")
	}
}

func (k *keptSessions) sessionDown(s *tunnel.Session, reason error) {
	k.mu.Lock()
	if cc := k.conns[s]; cc != nil {
		k.lost = append(k.lost, cc)
		delete(k.conns, s)
	}
	say := s == k.newest && k.connected && !k.closing
	k.mu.Unlock()
	if say {
		k.say("session down: %v", reason)
	}
}

// conn is link.current.
func (k *keptSessions) conn(ctx context.Context) (*grpc.ClientConn, error) {
	s, err := k.sessions.Wait(ctx)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if cc := k.conns[s]; cc != nil {
		return cc, nil
	}
	return nil, fmt.Errorf("%w: %w", tunnel.ErrNoSession, s.Err()) // Down was called meanwhile
}

// connect waits for the first session. It keeps a session up until t is closed.
func (k *keptSessions) connect(ctx context.Context, t *target) error { //nolint:contextcheck // the sessions outlast ctx
	l, url, err := k.endpoint.listen(ctx, k.out)
	if err != nil {
		return err
	}
	k.refusal = newRefusal(k.out)
	running, stop := context.WithCancel(k.life)
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { ended <- k.run(running, l) })
	t.cleanups = append(t.cleanups, func() {
		stop()
		wg.Wait()
		k.close(running)
	})
	if url != "" {
		k.say("waiting for a session at %s", url)
	}
	select {
	case s := <-k.first:
		wg.Go(func() {
			if err := <-ended; err != nil {
				k.fail(err)
			}
		})
		k.mu.Lock()
		cc := k.conns[s]
		k.mu.Unlock()
		if cc == nil {
			return &endedError{s.Remote, s.Err()}
		}
		if err := awaitServer(ctx, cc, s, k.timeout); err != nil {
			return err
		}
		k.mu.Lock()
		k.connected = true
		k.mu.Unlock()
		return nil
	case err := <-ended:
		if err != nil {
			return err
		}
	case <-ctx.Done():
	}
	if url == "" {
		return context.Cause(ctx)
	}
	return noSessionAt(ctx, url)
}

// run keeps a session up until ctx ends: it returns nil then. It doesn't retry the
// first dial.
func (k *keptSessions) run(ctx context.Context, l net.Listener) error {
	e := k.endpoint
	if e.url == "" {
		return e.run(ctx, l, k.sessions, k.out)
	}
	if e.tls.insecure {
		k.out.logger.Warn("the peer's certificate is not verified", slog.String("url", redact(e.url)))
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	e.dialOptions.Session.Logger = k.out.logger
	connector := tunnel.Connector{
		URL:              e.url,
		Options:          &e.dialOptions,
		Refresh:          func(opts *tunnel.DialOptions) { e.refresh(opts, k.out.logger) },
		Sessions:         k.sessions,
		MaxRetries:       k.maxRetries,
		MaxRetryInterval: k.maxRetryInterval,
		OnRetry: func(in time.Duration, reason error) {
			k.mu.Lock()
			first := k.newest == nil
			k.mu.Unlock()
			if first {
				giveUp(&tunnel.GaveUpError{Attempts: 1, Err: reason})
			}
			k.out.logger.Info("retry", slog.Duration("in", in.Round(time.Millisecond)), slog.Any("err", reason))
		},
	}
	if err := connector.Run(ctx); err != nil {
		return err
	}
	if gave, ok := errors.AsType[*tunnel.GaveUpError](context.Cause(ctx)); ok {
		return gave
	}
	return nil
}

// close ends the sessions, with status code 1000. ctx has ended.
func (k *keptSessions) close(ctx context.Context) {
	k.mu.Lock()
	k.closing = true
	for s, cc := range k.conns {
		_ = cc.Close()
		_ = s.Close()
	}
	k.mu.Unlock()
	_ = k.refusal.shutdown(ctx, k.sessions)
	for _, cc := range k.lost { // without k.mu: every Down has returned
		_ = cc.Close()
	}
}
