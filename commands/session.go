package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// oneSession connects to a gRPC server through one session, without reconnecting.
type oneSession struct {
	endpoint *endpoint
	out      *output
	timeout  time.Duration // of the wait for the gRPC server; 0: none
	say      func(format string, args ...any)
}

// newSession checks the flags of a session, and returns a function that dials url,
// or accepts a session at --accept if url is empty, and connects through it.
func (p *program) newSession(c *cli.Context, t *target, url string) (func(context.Context) (grpc.ClientConnInterface, error), error) {
	e, err := newConnection(c, wsmux.Client, url, endpoint{})
	if err != nil {
		return nil, err
	}
	s := &oneSession{
		endpoint: e,
		out:      &output{logger: t.logger},
		timeout:  c.Duration("connect-timeout"),
		say:      func(format string, args ...any) { fmt.Fprintf(p.stderr, "wstun: "+format+"\n", args...) },
	}
	return func(ctx context.Context) (grpc.ClientConnInterface, error) {
		cc, err := s.connect(ctx, t, dialOptions(c))
		if err != nil {
			return nil, err
		}
		return cc, nil
	}, nil
}

// connect waits for a session, and returns a ready connection through it. t closes
// both.
func (s *oneSession) connect(ctx context.Context, t *target, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	up := make(chan *tunnel.Session, 1)
	refusal := newRefusal(s.out)
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{Up: func(session *tunnel.Session) { //nolint:contextcheck // its streams end with the session
		refusal.serveStreams(session)
		select {
		case up <- session:
		default: // one is enough
		}
	}})
	t.cleanups = append(t.cleanups, func() { _ = refusal.shutdown(ctx, sessions) })
	session, err := s.get(ctx, sessions, up)
	if err != nil {
		return nil, err
	}
	t.cleanups = append(t.cleanups, func() { _ = session.Close() }) // with status code 1000
	cc, err := session.DialGRPC(opts...)
	if err != nil {
		return nil, err
	}
	t.cleanups = append(t.cleanups, func() { _ = cc.Close() })
	return cc, awaitServer(ctx, cc, session, s.timeout)
}

// awaitServer waits until a gRPC server answers in a session.
func awaitServer(ctx context.Context, cc *grpc.ClientConn, session *tunnel.Session, timeout time.Duration) error {
	err := awaitReady(ctx, cc, timeout, func() error {
		if err := session.Err(); err != nil {
			return &endedError{session.Remote, err}
		}
		return errNotGRPC
	})
	if _, ended := errors.AsType[*endedError](err); !ended && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNotGRPC)) {
		err = &sessionError{session.Remote, err}
	}
	return err
}

// get dials or accepts a session.
func (s *oneSession) get(ctx context.Context, sessions *tunnel.Sessions, up <-chan *tunnel.Session) (*tunnel.Session, error) {
	if s.endpoint.url != "" {
		if s.endpoint.tls.insecure {
			s.out.logger.Warn("the peer's certificate is not verified")
		}
		opts := s.endpoint.dialOptions
		s.endpoint.refresh(&opts, s.out.logger)
		session, err := tunnel.Dial(ctx, s.endpoint.url, &opts)
		if err != nil {
			return nil, &tunnel.GaveUpError{Attempts: 1, Err: err}
		}
		return sessions.Add(session, redact(s.endpoint.url)), nil
	}
	l, url, err := s.endpoint.listen(ctx, s.out)
	if err != nil {
		return nil, err
	}
	s.say("waiting for a session at %s", url)
	accepting, stop := context.WithCancel(ctx)
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = s.endpoint.run(accepting, l, sessions, s.out)
	}()
	defer func() {
		stop()
		<-ended
	}()
	select {
	case session := <-up:
		return session, nil
	case <-ended:
		if failed != nil {
			return nil, failed
		}
	case <-ctx.Done():
	}
	return nil, noSessionAt(ctx, url)
}

// sessionError says that no gRPC server answers in a session that is up.
type sessionError struct {
	remote string
	err    error
}

func (e *sessionError) Error() string {
	return fmt.Sprintf("no gRPC server answers in the session with %s: %v", e.remote, e.err)
}

func (e *sessionError) hint() string {
	advice := "is the peer the gRPC server end, such as wstun serve? If its yamux role is client, say --yamux-role server"
	if check := checkHint(e.remote); check != "" {
		advice += "; " + check
	}
	return advice
}

// endedError says that a session ended before a gRPC server answered in it.
type endedError struct {
	remote string
	err    error
}

func (e *endedError) Error() string { return fmt.Sprintf("session with %s ended: %v", e.remote, e.err) }
func (e *endedError) Unwrap() error { return e.err }

func (e *endedError) hint() string {
	return cmp.Or(checkHint(e.remote), "see the peer's log: it has ended the session, or a proxy between has")
}

// checkHint returns the command that examines remote, if it is a URL.
func checkHint(remote string) string {
	if !strings.Contains(remote, "://") {
		return ""
	}
	return "wstun check " + remote + " tells which layer is broken"
}
