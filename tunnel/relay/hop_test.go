package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// member is one of several relays with a directory.
type member struct {
	*Relay
	*site

	recs records
}

func (st *site) httpURL() string { return "http" + strings.TrimPrefix(st.url, "ws") }

// newFleet starts relays r0, r1 and so on. change, which may be nil, changes their options.
func newFleet(tb testing.TB, n int, change func(i int, o *Options)) (list []*member) {
	tb.Helper()
	var memory Memory
	for i := range n {
		m := &member{site: newSite(tb)}
		transport := &http.Transport{ResponseHeaderTimeout: tunneltest.Patience}
		tb.Cleanup(transport.CloseIdleConnections)
		o := Options{ID: fmt.Sprint("r", i), Directory: memory.At(m.httpURL()), Hop: transport, Observe: m.recs.observe}
		if change != nil {
			change(i, &o)
		}
		m.Relay = m.add(tb, o)
		list = append(list, m)
	}
	return list
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// An engineer reaches a Worker at another relay, before and after the Worker moves.
func TestHop(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 3, func(_ int, o *Options) { o.TrustedProxies = loopback })
	for i := range 2 {
		rs[i].worker(t, rs[i].Relay, "w", instanceA, fmt.Sprint("at ", i))
		for j, r := range rs {
			e := r.mustDial(t, Dial, "w", "")
			if err := call(t.Context(), e, fmt.Sprint("at ", i)); err != nil {
				t.Errorf("through r%d: %v", j, err)
			}
			_ = e.Close()
		}
		await(t, "the records", func() bool { return len(rs[i].recs.of("session", Dial)) == 3 })
		hops := map[string]int{}
		for _, rec := range rs[i].recs.of("session", Dial) {
			hops[rec.Via]++
			if host, _, err := net.SplitHostPort(rec.Remote); rec.Via == "" && (err != nil || host != "127.0.0.1") || rec.Via != "" && rec.Remote != "127.0.0.1" {
				t.Errorf("via %q: the client is %q", rec.Via, rec.Remote)
			}
		}
		if len(hops) != 3 || hops[""] != 1 {
			t.Errorf("the sessions came via %v, want each relay once", hops)
		}
		await(t, "the record of the hop", func() bool { return len(rs[2].recs.of("hop", Dial)) == i+1 })
		if rec := rs[2].recs.of("hop", Dial)[i]; rec.Name != "w" || rec.Up == 0 || rec.Down == 0 || rec.Begin.IsZero() {
			t.Errorf("the record of the hop is %+v", rec)
		}
	}
	await(t, "the first relay's yield", func() bool { return !rs[0].knows("w") })
	await(t, "the end of the hops", func() bool {
		sessions, _ := rs[2].Count()
		return sessions == 0
	})
}

// A stream through a hop ends as one without: with the Worker's code.
func TestHopEnds(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 2, nil)
	w := rs[0].worker(t, rs[0].Relay, "w", instanceA, "")
	e := rs[1].mustDial(t, Dial, "w", "")
	_ = w.Close()
	awaitCode(t, e, CloseGone)

	rs[0].worker(t, rs[0].Relay, "w", instanceB, "")
	e = rs[1].mustDial(t, Dial, "w", "")
	await(t, "the hop, alone", func() bool {
		sessions, streams := rs[1].Count()
		return sessions == 1 && streams == 1
	})
	rs[1].Close() // ends hops
	tunneltest.Await(t, "the engineer's end", e.Done())
}

// The relay that has the Worker decides again, and its refusal is passed back.
func TestHopAuthorizesAgain(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 2, func(i int, o *Options) {
		o.Authorize = func(r *http.Request, role Role, _ string) (Grant, error) {
			token := r.Header.Get("Authorization")
			if i == 0 && role == Dial && token != "good" {
				err := refuse(http.StatusUnauthorized, "not with this token")
				err.Header = http.Header{"WWW-Authenticate": {"Bearer"}, "Set-Cookie": {"a=b"}}
				return Grant{Subject: token}, err
			}
			return Grant{Subject: token}, nil
		}
	})
	rs[0].worker(t, rs[0].Relay, "w", instanceA, "")
	dial := func(token string) (*wsmux.Session, error) {
		opts := dialOptions(Dial, "")
		opts.Header = http.Header{"Authorization": {token}}
		return tunnel.Dial(tunneltest.Soon(t), rs[1].url+Path("", "w"), opts)
	}
	_, err := dial("worse")
	wantRefusal(t, err, http.StatusUnauthorized, "not with this token")
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok && (len(he.AuthSchemes) != 1 || he.Body != "wstun: not with this token") {
		t.Errorf("the refusal is %q with the schemes %v", he.Body, he.AuthSchemes)
	}
	e, err := dial("good")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := call(t.Context(), e, ""); err != nil {
		t.Error(err)
	}
}

// stale is a Directory that returns some URLs before it asks the real one.
type stale struct {
	Directory

	urls  []string
	asked atomic.Int64
}

func (d *stale) Locate(ctx context.Context, name string) (string, error) {
	if n := int(d.asked.Add(1)); n <= len(d.urls) {
		return d.urls[n-1], nil
	}
	return d.Directory.Locate(ctx, name)
}

// After 421, or if the other relay can't be reached, the first one asks again.
func TestHopAsksAgain(t *testing.T) {
	t.Parallel()
	gone := tunneltest.Listen(t)
	_ = gone.Close()
	directory := &stale{urls: []string{"http://" + gone.Addr().String()}}
	rs := newFleet(t, 3, func(i int, o *Options) {
		if i == 0 {
			directory.Directory, o.Directory = o.Directory, directory
		}
	})
	directory.urls = append(directory.urls, rs[1].httpURL())
	rs[2].worker(t, rs[2].Relay, "w", instanceA, "")
	e := rs[0].mustDial(t, Dial, "w", "")
	if err := call(t.Context(), e, ""); err != nil {
		t.Error(err)
	}
	if n := directory.asked.Load(); n != 3 {
		t.Errorf("asked the directory %d times, want 3", n)
	}
	if all := rs[1].recs.of("refusal", Dial); len(all) != 1 || all[0].Code != http.StatusMisdirectedRequest {
		t.Errorf("the records of the wrong relay are %+v, want 421", all)
	}
}

// If the other relay never has the Worker or is never there, the dial fails after Hold.
func TestHopFails(t *testing.T) {
	t.Parallel()
	gone := tunneltest.Listen(t)
	_ = gone.Close()
	for url, want := range map[string]int{"": http.StatusNotFound, "http://" + gone.Addr().String(): http.StatusServiceUnavailable} {
		directory := &stale{}
		rs := newFleet(t, 2, func(i int, o *Options) {
			if i == 0 {
				directory.Directory, o.Directory, o.Hold = o.Directory, directory, -1
			}
		})
		if url == "" {
			url = rs[1].httpURL()
		}
		for range 100 {
			directory.urls = append(directory.urls, url)
		}
		begin := time.Now()
		_, err := rs[0].dial(t, Dial, "w", "")
		text := "isn't connected"
		if want == http.StatusServiceUnavailable {
			text = "can't be reached"
		}
		wantRefusal(t, err, want, text)
		if n := directory.asked.Load(); n > int64(2+time.Since(begin)/askAgain) {
			t.Errorf("asked %d times in %v", n, time.Since(begin))
		}
	}
}

// yielding is a Directory that keeps the yields of its claims.
type yielding struct {
	mu     sync.Mutex
	yields []func(instance string)
	seqs   []uint64
}

func (d *yielding) Claim(_ string, by Instance, yield func(instance string)) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.yields, d.seqs = append(d.yields, yield), append(d.seqs, by.Seq)
	return func() {}
}

func (d *yielding) Locate(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", context.Cause(ctx)
}

func (*yielding) Peers(context.Context) []Peer { return nil }

// An instance that dials again claims its name again; only the last claim yields, and then
// the Worker dials again.
func TestClaimAgain(t *testing.T) {
	t.Parallel()
	d := &yielding{}
	r, st := newRelay(t, Options{Directory: d})
	var workers []*wsmux.Session
	for _, seq := range []string{"7", "8"} {
		opts := dialOptions(Serve, instanceA)
		opts.Header.Set(SeqHeader, seq)
		before := r.newest("w")
		w, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("", "w"), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		go echo(w, "")
		await(t, "the worker's arrival", func() bool { return r.newest("w") > before })
		workers = append(workers, w)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.seqs, []uint64{7, 8}) {
		t.Errorf("the claims are %v, want 7 and 8", d.seqs)
	}
	d.yields[0](instanceA)
	if !r.knows("w") {
		t.Error("a claim that was replaced yields")
	}
	d.yields[1](instanceA)
	if r.knows("w") {
		t.Error("the last claim doesn't yield")
	}
	tunneltest.Await(t, "GoAway", workers[1].PeerGoingAway())

	opts := dialOptions(Serve, instanceA)
	opts.Header.Set(SeqHeader, "-1")
	_, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("", "w"), opts)
	wantRefusal(t, err, http.StatusBadRequest, SeqHeader)
}

// failing is a Directory that doesn't work.
type failing struct{ Directory }

func (failing) Locate(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", errors.New("no NATS")
}

// Without the directory, Workers of this relay are reached, and for others the dial waits and
// then gets 503.
func TestDirectoryFails(t *testing.T) {
	t.Parallel()
	r := newFleet(t, 1, func(_ int, o *Options) { o.Directory, o.Hold = failing{o.Directory}, -1 })[0]
	r.worker(t, r.Relay, "w", instanceA, "")
	r.mustDial(t, Dial, "w", "")
	_, err := r.dial(t, Dial, "w2", "")
	wantRefusal(t, err, http.StatusServiceUnavailable, "the directory fails: no NATS")
}

// Headers of everybody that isn't a trusted proxy count for nothing, but Wstun-Via refuses a
// hop in any case.
func TestForgedHeaders(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		rs := newFleet(t, 2, func(_ int, o *Options) {
			if trusted {
				o.TrustedProxies = loopback
			}
		})
		rs[0].worker(t, rs[0].Relay, "w", instanceA, "")
		dial := func(m *member, header http.Header) error {
			opts := dialOptions(Dial, "")
			opts.Header = header
			s, err := tunnel.Dial(tunneltest.Soon(t), m.url+Path("", "w"), opts)
			if err == nil {
				_ = s.Close()
			}
			return err
		}
		forged := http.Header{"X-Forwarded-For": {"192.0.2.1, 198.51.100.7"}, "X-Forwarded-Host": {"evil"}, "Forwarded": {"for=192.0.2.1"}}
		if err := dial(rs[1], forged); err != nil {
			t.Fatal(err)
		}
		forged.Set(ViaHeader, "r9")
		wantRefusal(t, dial(rs[1], forged), http.StatusMisdirectedRequest, "isn't connected to this relay")
		if err := dial(rs[0], forged); err != nil {
			t.Error(err)
		}
		await(t, "the records", func() bool { return len(rs[0].recs.of("session", Dial)) == 2 })
		for _, rec := range rs[0].recs.of("session", Dial) {
			remote := rec.Remote
			if host, _, err := net.SplitHostPort(remote); err == nil {
				remote = host
			}
			wantRemote := "127.0.0.1"
			if trusted {
				wantRemote = "198.51.100.7"
			}
			if remote != wantRemote || rec.Via != "" != trusted {
				t.Errorf("trusted %v: the client is %q via %q", trusted, rec.Remote, rec.Via)
			}
		}
	}
}

// The request of a hop has the engineer's headers but those of its connection.
func TestHopHeaders(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	received := make(chan *http.Request, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, strings.Repeat("x", 3*maxRefusalText)+"\nsecond line")
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	r := newFleet(t, 1, func(_ int, o *Options) {
		o.Directory = &stale{urls: []string{"http://" + l.Addr().String() + "/base/"}}
	})[0]
	conn := tunneltest.DialTCP(t, strings.TrimPrefix(r.url, "ws://"))
	tunneltest.Write(t, conn, "GET /v1/worker/w HTTP/1.1\r\nHost: relay.example\r\nConnection: keep-alive, Upgrade, X-Drop\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wstun.dial.v1\r\n"+
		"Authorization: Bearer t\r\nX-Drop: 1\r\nX-Keep: 2\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nProxy-Authorization: p\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusTeapot || len(body) > maxRefusalText+10 {
		t.Errorf("the response is %d with %d bytes", resp.StatusCode, len(body))
	}
	got := tunneltest.Await(t, "the request", received)
	if want := "/base/v1/worker/w"; got.URL.Path != want || got.Host != l.Addr().String() {
		t.Errorf("the request is for %s at %s, want %s", got.URL.Path, got.Host, want)
	}
	for name, want := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Protocol": "wstun.dial.v1",
		"Authorization": "Bearer t", "X-Drop": "", "X-Keep": "2", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "", "Proxy-Authorization": "", ViaHeader: "r0",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://h", "https://h:1/", "http://[::1]:7070/a/b-c_d.e~f", "http://10.0.0.1"} {
		if err := CheckURL(url); err != nil {
			t.Errorf("CheckURL(%q) = %v", url, err)
		}
	}
	for _, url := range []string{
		"", "h", "h:1", "//h", "ws://h", "http:h", "http://", "http:///a", "http://:1", "http://u@h", "http://u:p@h", "http://h?", "http://h?q", "http://h#", "http://h#f",
		"http://h/%2e", "http://h/..", "http://h/a/../b", "http://h/ä", "http://h/a b", "http://h\n", "http://h/;", "http://h:x", "http://h/" + strings.Repeat("a", maxURL),
	} {
		if CheckURL(url) == nil {
			t.Errorf("CheckURL(%q) = nil", url)
		}
	}
}
