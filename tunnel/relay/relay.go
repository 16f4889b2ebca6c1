// Package relay connects engineers with Workers that are behind NAT: both dial the relay,
// which forwards each stream of an engineer's session to a stream of the Worker's session.
//
//	r := relay.New(relay.Options{Authorize: authorize, Observe: audit})
//	acceptor := tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: r.Upgrade, Plain: r.Handler(nil)})
//	go acceptor.Serve(listener)
//	…
//	err := r.Drain(ctx, 10*time.Second)
//
// A Worker dials <base>/v1/worker/NAME with the subprotocol [Serve]. It is the yamux
// server, and all engineers share its session. An engineer dials the same path with
// [Dial], and is the yamux client. Neither needs anything that is specific to the relay.
//
// Lifetimes: an engineer's session ends with the Worker's last one, with [CloseGone].
// Drain moves the Workers to other relays. Close ends all sessions.
//
// Security: Options.Authorize decides before anything is looked up, and Recheck ends the
// sessions whose rights were withdrawn. The sessions of
// engineers and Workers see only each other's streams. The number of streams, of waiting
// handshakes, and the memory of unread bytes are bounded; tunnel.AcceptOptions bounds the
// number of sessions.
//
// All methods may be called from any goroutine.
package relay

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Role is the role of the side that dials. It is the subprotocol of the handshake.
type Role string

// The roles.
const (
	Serve Role = "wstun.serve.v1" // a Worker
	Dial  Role = "wstun.dial.v1"  // an engineer
)

// Close codes of sessions, besides 1001 and 1012 (RFC 6455 §7.4.2).
const (
	CloseRevoked  = 4403                 // the Grant isn't valid any more
	CloseGone     = 4404                 // for an engineer: the Worker's session has ended
	CloseReplaced = tunnel.CloseReplaced // for a Worker: another instance has its name
)

// The defaults of Options.
const (
	DefaultHold       = 5 * time.Second
	DefaultMaxHolds   = 1024
	DefaultMaxStreams = 1024

	defaultUnread = 256 * 1024 * 1024
)

// Options adjusts a Relay. Its zero value means the defaults.
type Options struct {
	// ID names this relay in the header Wstun-Relay of responses, and in Wstun-Via of hops.
	// It has the form of a Worker's name. Default: none.
	ID string

	// Base is the path before /v1/worker/NAME, without a slash at its end. Default: "".
	Base string

	// Hold is how long the handshake of an engineer waits for a Worker that isn't
	// connected, which may just be moving; negative: not at all. Default: DefaultHold.
	Hold time.Duration

	// MaxHolds is how many handshakes may wait; further ones get 503.
	// Default: DefaultMaxHolds.
	MaxHolds int

	// MaxStreams is how many streams an engineer's session may have; further ones are
	// reset. Default: DefaultMaxStreams.
	MaxStreams int

	// KeepFirst refuses the Worker whose name another instance has, with 409. It locks
	// out a Worker that has restarted until its old session has ended. Default: the
	// newest instance has the name, and the sessions of the other end with
	// CloseReplaced. A Worker that doesn't send InstanceHeader and SinceHeader counts as
	// another, new one.
	KeepFirst bool

	// Authorize decides whether a handshake may use a name, before it is looked up. For a
	// list of Workers, name is "", and the list has those that the sender may dial. A
	// *tunnel.RefusalError has the status, which is otherwise 403. The Grant of a refusal may
	// have the Subject. Default: everybody may use every name.
	Authorize func(r *http.Request, role Role, name string) (Grant, error)

	// Observe receives a Record at the end of each session and stream, and of each
	// handshake that was refused. It must not block. Default: none.
	Observe func(Record)

	// Directory finds Workers that are at other relays, and Hop sends the handshake of an
	// engineer on to such a relay, which authorizes it again. Hop must have timeouts: use an
	// [http.Transport] without a proxy. Default: this relay is the only one.
	Directory Directory
	Hop       http.RoundTripper

	// TrustedProxies are the addresses of load balancers and relays. The Records have the
	// client's address and the relay that these name in X-Forwarded-For and Wstun-Via.
	// Default: none; the headers of everybody else count for nothing.
	TrustedProxies []netip.Prefix

	// ClientCAs returns the authorities of client certificates in Client-Cert (RFC 9440) of
	// the TrustedProxies, which must remove this header from the requests of their clients.
	// Authorize then finds the certificate in the VerifiedChains of the request. Other
	// relays are sent the certificates that this one has verified. Default: the header
	// counts for nothing.
	ClientCAs func() *x509.CertPool

	// Session adjusts the sessions; Role isn't used. Unread, by default 256 MiB, is shared
	// by all of them.
	Session tunnel.SessionOptions

	// Logger logs the sessions of Workers at info level and those of engineers at debug
	// level. Default: nothing is logged.
	Logger *slog.Logger
}

// Relay connects engineers with Workers. New returns one.
type Relay struct {
	opts   Options
	logger *slog.Logger
	holds  chan struct{} // holds a token for each handshake that waits
	lists  chan struct{} // and for each list of all relays

	running  sync.WaitGroup // one for each session and stream
	up, down atomic.Int64   // bytes to Workers, and from them

	mu       sync.Mutex // not held during calls that may block
	names    map[string]*worker
	arrivals map[string]*arrival
	sessions map[*session]struct{}
	hops     map[hop]struct{}
	hopped   map[string]*session // those that were sent on, by HopHeader
	subjects map[string]int      // sessions and their handshakes, by Grant.Subject
	lastID   uint64
	totals   Totals // without those that Totals computes
	draining bool   // Workers are refused
	closed   bool   // all sessions are refused
}

// New returns a Relay.
func New(opts Options) *Relay {
	r := &Relay{
		opts:     opts,
		logger:   opts.Logger,
		holds:    make(chan struct{}, cmp.Or(opts.MaxHolds, DefaultMaxHolds)),
		lists:    make(chan struct{}, maxLists),
		names:    map[string]*worker{},
		arrivals: map[string]*arrival{},
		sessions: map[*session]struct{}{},
		hops:     map[hop]struct{}{},
		hopped:   map[string]*session{},
		subjects: map[string]int{},
		totals:   Totals{Refusals: map[int]uint64{}},
	}
	r.opts.Hold = cmp.Or(opts.Hold, DefaultHold)
	r.opts.MaxStreams = cmp.Or(opts.MaxStreams, DefaultMaxStreams)
	if r.opts.Session.Unread == nil {
		r.opts.Session.Unread = mux.NewUnreadLimit(defaultUnread)
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	return r
}

// Upgrade implements [tunnel.AcceptOptions].Upgrade. It blocks while an engineer's
// handshake waits for the Worker.
func (r *Relay) Upgrade(req *http.Request) (*tunnel.Upgrade, error) {
	begin := time.Now()
	s, err := r.parse(req)
	if err == nil {
		req, err = r.identify(req)
	}
	var up *tunnel.Upgrade
	if err == nil {
		up, err = r.admit(req, s)
	}
	if err != nil {
		refusal := r.refusal(err)
		r.count(func(t *Totals) { t.Refusals[refusal.Code]++ })
		if r.opts.Observe != nil {
			s.begin = begin
			r.opts.Observe(s.refusedRecord(refusal))
		}
		return nil, refusal
	}
	return up, nil
}

// parse checks the request and returns its session. On error the session has only the
// fields that are known.
func (r *Relay) parse(req *http.Request) (*session, error) {
	s := &session{remote: r.client(req)}
	var err error
	if via := req.Header.Get(ViaHeader); CheckName(via) == nil && r.trusts(req.RemoteAddr) {
		s.via = via
	}
	if secret := req.Header.Get(HopHeader); len(secret) <= maxSecret && req.Header.Get(ViaHeader) != "" {
		s.hop = secret
	}
	if s.name, err = parsePath(req.URL.EscapedPath(), r.opts.Base); err != nil {
		return s, err
	}
	offered := websocket.Subprotocols(req)
	if len(offered) != 1 || !slices.Contains([]Role{Serve, Dial}, Role(offered[0])) {
		return s, refuse(http.StatusBadRequest, "this is a relay: want one subprotocol, %s or %s", Serve, Dial)
	}
	s.role = Role(offered[0])
	if s.role == Serve {
		if s.instance, err = parseInstance(req.Header.Values(InstanceHeader)); err != nil {
			return s, err
		}
		if s.seq, err = parseSeq(req.Header.Get(SeqHeader)); err != nil {
			return s, err
		}
		if s.since, err = parseSince(req.Header.Get(SinceHeader), time.Now()); err != nil {
			return s, err
		}
	}
	return s, nil
}

// admit authorizes s, and returns the response to its handshake.
func (r *Relay) admit(req *http.Request, s *session) (up *tunnel.Upgrade, err error) {
	if r.opts.Authorize != nil {
		if s.grant, err = r.opts.Authorize(req, s.role, s.name); err != nil {
			return nil, err
		}
		if err := r.reserve(req, s); err != nil {
			return nil, err
		}
	}
	if s.role == Serve {
		if err := r.admitWorker(s); err != nil {
			return nil, err
		}
		return r.upgrade(s, r.serveWorker), nil
	}
	return r.reach(req, s)
}

// upgrade returns the response that starts s, which serve uses.
func (r *Relay) upgrade(s *session, serve func(*session)) *tunnel.Upgrade {
	header := r.header()
	if s.role == Serve {
		header.Set(SinceHeader, strconv.FormatInt(s.since.UnixNano(), 10))
	}
	return &tunnel.Upgrade{
		Header:       header,
		Subprotocols: []string{string(s.role)},
		Serve: func(conn *websocket.Conn) {
			role := wsmux.Client
			if s.role == Dial {
				role = wsmux.Server
			}
			if err := r.start(s, conn, role); err != nil {
				r.logger.Error("session not started", slog.String("remote_addr", s.remote), slog.Any("err", err))
				return
			}
			serve(s)
		},
	}
}

func (r *Relay) header() http.Header {
	if r.opts.ID == "" {
		return http.Header{}
	}
	return http.Header{RelayHeader: {r.opts.ID}}
}

// The headers of handshakes.
const (
	InstanceHeader = "Wstun-Instance" // a Worker's process, 32 hexadecimal digits
	SeqHeader      = "Wstun-Seq"      // the number of the dial of that process; default 0
	SinceHeader    = "Wstun-Since"    // when a relay has first accepted that process; the Worker repeats it
	RelayHeader    = "Wstun-Relay"    // the ID of the relay that has the session
	ViaHeader      = "Wstun-Via"      // the ID of the relay that has sent the handshake on
)

// refuse returns a refusal with a status code.
func refuse(code int, format string, args ...any) *tunnel.RefusalError {
	return &tunnel.RefusalError{Code: code, Err: fmt.Errorf(format, args...)}
}

// unavailable returns a refusal with status 503 that asks for another try a second later.
func unavailable(format string, args ...any) *tunnel.RefusalError {
	refusal := refuse(http.StatusServiceUnavailable, format, args...)
	refusal.Header = http.Header{"Retry-After": {"1"}}
	return refusal
}
