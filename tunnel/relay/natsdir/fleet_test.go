package natsdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// replica is a relay of several, with its own connection to NATS.
type replica struct {
	*relay.Relay

	dir       *Directory
	url       string // http
	front, db *tunneltest.Relay
}

// newReplicas starts relays.
func newReplicas(t *testing.T, n int, natsAddr string) (list []*replica) {
	t.Helper()
	for i := range n {
		r := &replica{db: tunneltest.NewRelay(t, natsAddr)}
		var acceptor atomic.Pointer[tunnel.Acceptor]
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { acceptor.Load().ServeHTTP(w, req) }))
		t.Cleanup(srv.Close)
		r.front = tunneltest.NewRelay(t, srv.Listener.Addr().String())
		r.url = "http://" + r.front.Addr()
		var err error
		if r.dir, err = Connect(Options{Servers: "nats://" + r.db.Addr(), ID: fmt.Sprint("r", i), URL: r.url}); err != nil {
			t.Fatal(err)
		}
		awaitConnected(t, r.dir)
		transport := &http.Transport{ResponseHeaderTimeout: time.Second}
		t.Cleanup(transport.CloseIdleConnections)
		r.Relay = relay.New(relay.Options{ID: fmt.Sprint("r", i), Directory: r.dir, Hop: transport})
		acceptor.Store(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: r.Upgrade}))
		t.Cleanup(r.dir.Close)
		t.Cleanup(r.Close)
		list = append(list, r)
	}
	return list
}

// kill resets the connections of r, and lets no further ones through.
func (r *replica) kill() {
	for _, p := range []*tunneltest.Relay{r.front, r.db} {
		p.Freeze()
		p.Cut()
	}
}

// balancer sends each handshake to the next replica that is up.
type balancer struct {
	mu   sync.Mutex
	urls []string
	next int
}

func (b *balancer) remove(url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, u := range b.urls {
		if u == url {
			b.urls = append(b.urls[:i:i], b.urls[i+1:]...)
			return
		}
	}
}

func (b *balancer) url(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.urls[b.next%len(b.urls)] + relay.Path("", name)
}

// work is a Worker that dials again until the test ends, as the command does.
func (b *balancer) work(t *testing.T, wg *sync.WaitGroup, name, instance string) {
	t.Helper()
	ctx := t.Context()
	wg.Go(func() {
		for seq := 1; ctx.Err() == nil; seq++ {
			opts := &tunnel.DialOptions{
				Proxy: "none", Subprotocols: []string{string(relay.Serve)}, ConnectTimeout: time.Second, Session: tunnel.SessionOptions{},
				Header: http.Header{relay.InstanceHeader: {instance}, relay.SeqHeader: {fmt.Sprint(seq)}},
			}
			opts.Session.Role = wsmux.Server
			s, err := tunnel.Dial(ctx, b.url(name), opts)
			if err != nil {
				<-time.After(10 * time.Millisecond)
				continue
			}
			go echo(s, name)
			select {
			case <-s.PeerGoingAway():
			case <-s.Done():
			case <-ctx.Done():
			}
			_ = s.Close()
		}
	})
}

func echo(s *wsmux.Session, tag string) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(stream, tag)
		_ = stream.Close()
	}
}

// call dials a Worker through the relay at url and reads its name.
func call(t *testing.T, url, name string, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := tunnel.Dial(ctx, url, &tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(relay.Dial)}, ConnectTimeout: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	stream, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	_ = stream.SetReadDeadline(time.Now().Add(limit))
	got, err := io.ReadAll(stream)
	if err == nil && string(got) != name {
		err = fmt.Errorf("the worker is %q, want %s", got, name)
	}
	return err
}

// reachAll waits until every Worker is reached through each URL.
func reachAll(t *testing.T, urls []string, names int) {
	t.Helper()
	begin := time.Now()
	for i := range names {
		name := fmt.Sprint("w-", i)
		for _, url := range urls {
			var err error
			tunneltest.Eventually(t, name+" through "+url, func() bool {
				err = call(t, url+relay.Path("", name), name, 10*time.Second)
				return err == nil
			})
		}
	}
	t.Logf("all reached after %v", time.Since(begin).Round(time.Millisecond))
}

// With three relays every Worker is reached through each of them: also after one is lost,
// and after NATS was away.
func TestFleet(t *testing.T) {
	t.Parallel()
	const names = 30
	rs := newReplicas(t, 3, newServer(t, nil).Addr().String())
	b := &balancer{}
	for _, r := range rs {
		b.urls = append(b.urls, r.url)
	}
	urls := append([]string{}, b.urls...)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for i := range names {
		b.work(t, &wg, fmt.Sprint("w-", i), fmt.Sprintf("%032x", i))
	}
	reachAll(t, urls, names)

	// Without NATS, Workers of the relay itself are reached, and dials to others get 503.
	for _, r := range rs {
		r.db.Freeze()
		r.db.Cut()
	}
	tunneltest.Eventually(t, "the loss of NATS", func() bool { return !rs[0].dir.conn.IsConnected() })
	at := map[string]bool{}
	for _, s := range rs[0].Snapshot().Sessions {
		at[s.Name] = s.Role == relay.Serve || at[s.Name]
	}
	var other string
	for i := range names {
		name := fmt.Sprint("w-", i)
		if !at[name] {
			other = name
		} else if err := call(t, urls[0]+relay.Path("", name), name, 10*time.Second); err != nil {
			t.Errorf("without NATS, at the relay with %s: %v", name, err)
		}
	}
	err := call(t, urls[0]+relay.Path("", other), other, 10*time.Second)
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); !ok || he.StatusCode != http.StatusServiceUnavailable || !strings.Contains(he.Body, errDown.Error()) {
		t.Errorf("without NATS, for another relay's worker: %v, want 503", err)
	}
	for _, r := range rs {
		r.db.Thaw()
	}
	reachAll(t, urls, names)

	// A relay is lost.
	b.remove(rs[2].url)
	rs[2].kill()
	reachAll(t, urls[:2], names)
	sessions := 0
	for _, r := range rs[:2] {
		for _, s := range r.Snapshot().Sessions {
			if s.Role == relay.Serve {
				sessions++
			}
		}
	}
	if sessions < names {
		t.Errorf("%d sessions of workers, want %d", sessions, names)
	}

	// A relay drains.
	b.remove(rs[1].url)
	rs[1].Drain(t.Context(), 100*time.Millisecond)
	reachAll(t, urls[:1], names)
}
