package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// connectTimeout bounds one attempt to connect, up to the first HTTP/2 frame.
const connectTimeout = 10 * time.Second

// retry is how often an upstream that is down is dialed while no call needs it.
var retry = backoff.Config{BaseDelay: time.Second, Multiplier: 1, Jitter: 0.2, MaxDelay: time.Second}

// UpstreamOptions are the options of [NewUpstream]. A nil *UpstreamOptions
// means the defaults.
type UpstreamOptions struct {
	// TLS is how to speak TLS to the upstream. The certificate is verified for
	// TLS.ServerName, else for the host of Authority, else for that of the
	// address. Default: no TLS.
	TLS *tls.Config

	// Authority is the :authority of every call. Default: the caller's; with
	// TLS only if the upstream's certificate is valid for it, and otherwise
	// the name that it is verified for.
	Authority string

	// TLSHint says how to turn TLS on or off, such as "see --upstream-tls". It is
	// added to the errors of an upstream that seems to need that. Default: nothing.
	TLSHint string

	// Logger logs connections and failed attempts at level Debug. Default: nothing
	// is logged.
	Logger *slog.Logger
}

// Upstream is a gRPC server to pass calls on to.
type Upstream struct {
	addr          string // as given
	dialed        outbound.Addr
	tls           bool
	tlsHint       string
	keepAuthority bool // pass on the caller's
	logger        *slog.Logger
	conn          *grpc.ClientConn

	mu       sync.Mutex
	attempts int                // to connect, begun
	losses   int                // attempts and connections ended
	cause    error              // why the latest attempt failed
	spoke    bool               // it has spoken HTTP/2 without TLS
	waiting  map[*waiter]func() // wakes the calls that wait for an attempt
}

// NewUpstream returns an upstream at addr, of the form of [outbound.ParseAddr]. The
// first call dials it, and so does a call after the connection is lost: that an
// upstream is down is no error here. The caller closes it.
func NewUpstream(addr string, opts *UpstreamOptions) (*Upstream, error) {
	return newUpstream(addr, opts)
}

func newUpstream(addr string, opts *UpstreamOptions, dialOpts ...grpc.DialOption) (*Upstream, error) {
	if opts == nil {
		opts = &UpstreamOptions{}
	}
	u := &Upstream{
		addr:          addr,
		tls:           opts.TLS != nil,
		tlsHint:       opts.TLSHint,
		keepAuthority: opts.Authority == "",
		logger:        orDiscard(opts.Logger),
		waiting:       make(map[*waiter]func()),
	}
	var err error
	if u.dialed, err = outbound.ParseAddr(addr); err != nil {
		return nil, fmt.Errorf("proxy: upstream %w", err)
	}
	authority := u.dialed.Address
	if u.dialed.Network == "unix" {
		authority = "localhost"
	}
	creds := insecure.NewCredentials()
	if u.tls {
		if opts.TLS.ServerName != "" {
			authority = opts.TLS.ServerName
		}
		creds = outbound.Credentials(opts.TLS, u.handshake)
	}
	if opts.Authority != "" {
		authority = opts.Authority
	}
	u.conn, err = grpc.NewClient("passthrough:///"+u.dialed.Address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(u.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: connectTimeout}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the caller decides
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wsmux.MaxMsgSize), grpc.MaxCallSendMsgSize(wsmux.MaxMsgSize)),
	}, dialOpts...)...)
	if err != nil {
		return nil, fmt.Errorf("proxy: upstream %q: %w", addr, err)
	}
	return u, nil
}

// Addr returns the address as it was given to [NewUpstream].
func (u *Upstream) Addr() string { return u.addr }

// Conn returns the client that forwards the calls. The caller may use it for calls
// of its own, such as reflection and health, and must not close it.
func (u *Upstream) Conn() *grpc.ClientConn { return u.conn }

// Close closes the connection; calls in flight end as Unavailable.
func (u *Upstream) Close() error { return u.conn.Close() }
