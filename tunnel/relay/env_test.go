package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// site is a URL at which relays are reached, as through a load balancer that sends each
// handshake to the newest of them.
type site struct {
	url     string
	current atomic.Pointer[tunnel.Acceptor]
}

func newSite(tb testing.TB) *site {
	tb.Helper()
	st := &site{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { st.current.Load().ServeHTTP(w, r) }))
	tb.Cleanup(srv.Close)
	st.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	return st
}

// add starts a relay at the site. It is closed when the test ends.
func (st *site) add(tb testing.TB, opts Options) *Relay {
	tb.Helper()
	r := New(opts)
	st.current.Store(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: r.Upgrade, Plain: r.Handler(nil)}))
	tb.Cleanup(r.Close)
	return r
}

// newRelay starts a relay at a site of its own.
func newRelay(t *testing.T, opts Options) (*Relay, *site) {
	t.Helper()
	st := newSite(t)
	return st.add(t, opts), st
}

const (
	instanceA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	instanceB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// dialOptions returns the options of a handshake. instance may be "".
func dialOptions(role Role, instance string) *tunnel.DialOptions {
	opts := &tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(role)}}
	if role == Serve {
		opts.Session.Role = wsmux.Server
	}
	if instance != "" {
		opts.Header = http.Header{InstanceHeader: {instance}}
	}
	return opts
}

// dial dials the relay. The session is closed when the test ends.
func (st *site) dial(t *testing.T, role Role, name, instance string) (*wsmux.Session, error) {
	t.Helper()
	s, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("", name), dialOptions(role, instance))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func (st *site) mustDial(t *testing.T, role Role, name, instance string) *wsmux.Session {
	t.Helper()
	s, err := st.dial(t, role, name, instance)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect keeps a session up as a Worker or an engineer does, until the test ends.
func (st *site) connect(t *testing.T, role Role, name, instance string, sub tunnel.Subscriber) *tunnel.Sessions {
	t.Helper()
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(sub)
	c := &tunnel.Connector{URL: st.url + Path("", name), Options: dialOptions(role, instance), Sessions: sessions, MaxRetries: -1}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = sessions.Shutdown(tunneltest.Ended())
	})
	return sessions
}

// echo echoes the streams of a Worker's session, after tag, until that ends.
func echo(s *wsmux.Session, tag string) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			if _, err := io.WriteString(stream, tag); err == nil {
				_, _ = io.Copy(stream, stream)
			}
			_ = stream.CloseWrite()
		}()
	}
}

// worker dials a Worker that echoes, and waits until the relay has it.
func (st *site) worker(t *testing.T, r *Relay, name, instance, tag string) *wsmux.Session {
	t.Helper()
	before := r.newest(name)
	s := st.mustDial(t, Serve, name, instance)
	go echo(s, tag)
	await(t, "the worker's arrival", func() bool { return r.newest(name) > before })
	return s
}

func (r *Relay) knows(name string) bool { return r.newest(name) > 0 }

// newest returns the ID of the session that gets the streams to a Worker, or 0.
func (r *Relay) newest(name string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.names[name]; w != nil {
		return w.current().id
	}
	return 0
}

func count(r *Relay, role Role) (n int) {
	for _, s := range r.Snapshot().Sessions {
		if s.Role == role {
			n++
		}
	}
	return n
}

// await polls until ok is true.
func await(t *testing.T, name string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(tunneltest.Patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", name, tunneltest.Patience)
		}
		<-time.After(time.Millisecond)
	}
}

// call opens a stream, and checks the tag and an echo.
func call(ctx context.Context, s *wsmux.Session, tag string) error {
	stream, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	return exchange(stream, tag)
}

func exchange(stream *wsmux.Stream, tag string) error {
	const text = "hello"
	if _, err := io.WriteString(stream, text); err != nil {
		return err
	}
	_ = stream.CloseWrite()
	got, err := io.ReadAll(stream)
	if err == nil && string(got) != tag+text {
		err = errors.New("the echo is " + string(got))
	}
	return err
}

// awaitCode waits for the end of a session, which must have a status code.
func awaitCode(t *testing.T, s *wsmux.Session, code int) {
	t.Helper()
	tunneltest.Await(t, "the session's end", s.Done())
	if !websocket.IsCloseError(s.Err(), code) {
		t.Errorf("the session ended with %v, want status code %d", s.Err(), code)
	}
}

// wantRefusal fails the test unless err is a refusal with a status whose body has a text.
func wantRefusal(t *testing.T, err error, code int, text string) {
	t.Helper()
	he, ok := errors.AsType[*tunnel.HandshakeError](err)
	if !ok || he.StatusCode != code || !strings.Contains(he.Body, text) {
		t.Errorf("dial = %v, want %d with %q", err, code, text)
	}
}

// records collects Records.
type records struct {
	mu  sync.Mutex
	all []Record
}

func (rs *records) observe(rec Record) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = append(rs.all, rec)
}

// of returns the Records of a kind and role.
func (rs *records) of(kind string, role Role) []Record {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(rs.all), func(rec Record) bool { return rec.Kind != kind || rec.Role != role })
}
