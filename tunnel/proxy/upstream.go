package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"

	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// connectTimeout bounds one attempt to connect, up to the first HTTP/2 frame.
const connectTimeout = 10 * time.Second

// reconnectBackoff is the interval between dials of an upstream that is down while no
// call waits for it.
var reconnectBackoff = backoff.Config{BaseDelay: time.Second, Multiplier: 1, Jitter: 0.2, MaxDelay: time.Second}

// UpstreamOptions are the options of [NewUpstream]. Nil means the defaults.
type UpstreamOptions struct {
	// TLS is the configuration for TLS to the upstream. The certificate must be valid
	// for TLS.ServerName, or else the host of Authority, or else the host of the
	// address. Default: no TLS.
	TLS *tls.Config

	// Authority is the :authority of every call. Default: the caller's, or with TLS,
	// if the upstream's certificate isn't valid for that, the verified name.
	Authority string

	// TLSHint explains how to turn TLS on or off, such as "see --upstream-tls". It is
	// appended to errors that suggest a wrong TLS setting. Default: none.
	TLSHint string

	// Logger logs connections and failed attempts at level Debug. Default: no logs.
	Logger *slog.Logger
}

// Upstream is a gRPC server that gets forwarded calls.
type Upstream struct {
	addr          string // as given to NewUpstream
	dialed        outbound.Addr
	tls           bool
	tlsHint       string
	keepAuthority bool // forward the caller's
	logger        *slog.Logger
	conn          *grpc.ClientConn
	codec         encoding.CodecV2
	opts          *UpstreamOptions

	mu         sync.Mutex
	sessions   map[*limit.Session]*Upstream
	attempts   int                // started
	losses     int                // attempts and connections that have ended
	cause      error              // of the failure of the latest attempt
	spokeHTTP2 bool               // at least once, without TLS
	waiting    map[*waiter]func() // each function wakes the waiter
}

// NewUpstream returns an upstream at addr, in the form of [outbound.ParseAddr]. It doesn't
// connect: the first call does, and so does a call after the connection is lost. The
// caller closes the upstream.
func NewUpstream(addr string, opts *UpstreamOptions) (*Upstream, error) {
	return newUpstream(addr, opts, nil)
}

// forSession returns an upstream with a connection of its own for the session of a call:
// the memory for other sessions doesn't delay its calls. It returns u without a session.
func (u *Upstream) forSession(ctx context.Context) (*Upstream, error) {
	s := limit.FromContext(ctx)
	if s == nil {
		return u, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if own := u.sessions[s]; own != nil {
		return own, nil
	}
	own, err := newUpstream(u.addr, u.opts, s)
	if err != nil {
		return nil, err
	}
	u.sessions[s] = own
	s.AfterClose(func() {
		u.mu.Lock()
		delete(u.sessions, s)
		u.mu.Unlock()
		_ = own.Close()
	})
	return own, nil
}

func newUpstream(addr string, opts *UpstreamOptions, limits *limit.Session, dialOpts ...grpc.DialOption) (*Upstream, error) {
	if opts == nil {
		opts = &UpstreamOptions{}
	}
	u := &Upstream{
		addr:          addr,
		tls:           opts.TLS != nil,
		tlsHint:       opts.TLSHint,
		keepAuthority: opts.Authority == "",
		logger:        cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		codec:         clientCodec,
		opts:          opts,
		sessions:      make(map[*limit.Session]*Upstream),
		waiting:       make(map[*waiter]func()),
	}
	var err error
	if u.dialed, err = outbound.ParseAddr(addr); err != nil {
		return nil, fmt.Errorf("proxy: upstream %w", err)
	}
	authority := u.dialed.Authority()
	creds := insecure.NewCredentials()
	if u.tls {
		if opts.TLS.ServerName != "" {
			authority = opts.TLS.ServerName
		}
		creds = outbound.Credentials(opts.TLS, u.recordHandshake)
	}
	if opts.Authority != "" {
		authority = opts.Authority
	}
	if limits != nil {
		u.codec, creds = limits.ClientCodec(clientCodec), limits.ClientCredentials(creds)
		dialOpts = append(dialOpts, limits.ClientOptions()...)
	}
	u.conn, err = grpc.NewClient("passthrough:///"+u.dialed.Authority(), slices.Concat(wsmux.ClientOptions(creds, u.logger.With(slog.String("upstream", u.addr))), []grpc.DialOption{
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(u.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnectBackoff, MinConnectTimeout: connectTimeout}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // callers retry
	}, dialOpts)...)
	if err != nil {
		return nil, fmt.Errorf("proxy: upstream %q: %w", addr, err)
	}
	return u, nil
}

// Addr returns the address given to [NewUpstream].
func (u *Upstream) Addr() string { return u.addr }

// Err returns why the latest attempt to connect failed; nil if it succeeded or none has
// ended.
func (u *Upstream) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cause
}

// Conn returns the connection for forwarded calls. The caller may use it for its own
// calls, such as reflection and health checks, and must not close it.
func (u *Upstream) Conn() *grpc.ClientConn { return u.conn }

// Close closes the connection; calls in flight end as Unavailable.
func (u *Upstream) Close() error { return u.conn.Close() }
