package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// getList sends a request for a list, and returns the status and the answer.
func (m *member) getList(t *testing.T, query string, header http.Header) (int, *List) {
	t.Helper()
	status, body := get(t, m.httpURL()+workersPath+query, header)
	var l List
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &l); err != nil {
			t.Fatal(err)
		}
	}
	return status, &l
}

// String returns the names and relays of l.
func (l *List) String() string {
	var b strings.Builder
	for _, info := range l.Workers {
		fmt.Fprintf(&b, "%s@%s ", info.Name, info.Relay)
	}
	if l.More {
		b.WriteString("more ")
	}
	for _, id := range l.Missing {
		fmt.Fprintf(&b, "!%s ", id)
	}
	return strings.TrimSpace(b.String())
}

// A list has the Workers at all relays that the sender may dial.
func TestListAll(t *testing.T) {
	t.Parallel()
	rs := newFleet(t, 3, func(i int, o *Options) {
		o.Authorize = func(r *http.Request, role Role, name string) (Grant, error) {
			switch user := r.Header.Get("Authorization"); {
			case role == Serve, user == "alice", user == "bob" && (name == "" || strings.HasPrefix(name, "eu-")):
				return Grant{}, nil
			case user == "carol" && i == 1:
				return Grant{}, nil
			case user == "carol":
				return Grant{}, refuse(http.StatusUnauthorized, "unknown here")
			}
			return Grant{}, refuse(http.StatusForbidden, "no")
		}
	})
	for i, names := range [][]string{{"eu-3", "us-1", "us-4"}, {"eu-1", "eu-2"}, {"us-2", "us-3"}} {
		for _, name := range names {
			rs[i].worker(t, rs[i].Relay, name, "", "")
		}
	}
	for _, tt := range []struct {
		relay             int
		user, query, want string
	}{
		{0, "alice", "", "eu-1@r1 eu-2@r1 eu-3@r0 us-1@r0 us-2@r2 us-3@r2 us-4@r0"},
		{2, "alice", "?prefix=us-&limit=3", "us-1@r0 us-2@r2 us-3@r2 more"},
		{1, "alice", "?limit=1", "eu-1@r1 more"},
		{2, "alice", "?prefix=us-&limit=4&timeout=2s", "us-1@r0 us-2@r2 us-3@r2 us-4@r0"},
		{2, "bob", "", "eu-1@r1 eu-2@r1 eu-3@r0"},
		{1, "carol", "", "eu-1@r1 eu-2@r1"}, // the others know her not: not missing
	} {
		code, l := rs[tt.relay].getList(t, tt.query, http.Header{"Authorization": {tt.user}})
		if got := l.String(); code != http.StatusOK || got != tt.want || l.Relay != fmt.Sprint("r", tt.relay) {
			t.Errorf("%s at r%d %q: %d %s, want %s", tt.user, tt.relay, tt.query, code, got, tt.want)
		}
	}
	alice := http.Header{"Authorization": {"alice"}}
	for query, want := range map[string]int{"?limit=0": 400, "?limit=10001": 400, "?timeout=x": 400, "?timeout=-1s": 400, "?timeout=9h": 200} {
		if code, _ := rs[0].getList(t, query, alice); code != want {
			t.Errorf("%s: status %d, want %d", query, code, want)
		}
	}
	if code, _ := rs[0].getList(t, "", nil); code != http.StatusForbidden {
		t.Errorf("without credentials: status %d, want 403", code)
	}
	alice.Set(ViaHeader, "r9") // as another relay
	if _, l := rs[2].getList(t, "", alice); l.String() != "us-2@r2 us-3@r2" {
		t.Errorf("for another relay: %s, want its own only", l)
	}
}

// others is a Directory that knows these relays.
type others struct {
	Directory

	peers []Peer
}

func (d *others) Peers(context.Context) []Peer { return d.peers }

// Relays that don't answer in time, or not with a list, are missing in the list.
func TestListMissing(t *testing.T) {
	t.Parallel()
	silent, gone := tunneltest.Listen(t), tunneltest.Listen(t)
	_ = gone.Close()
	odd := newSite(t)
	odd.current.Store(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Plain: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"workers":[{"name":"../x"}]}`)
	})}))
	d := &others{peers: []Peer{{"silent", "http://" + silent.Addr().String()}, {"gone", "http://" + gone.Addr().String()}, {"odd", odd.httpURL()}, {"", "http://127.0.0.1:1"}}}
	rs := newFleet(t, 2, func(i int, o *Options) {
		if i == 0 {
			d.Directory, o.Directory = o.Directory, d
		}
	})
	d.peers = append(d.peers, Peer{"r1", rs[1].httpURL()})
	rs[0].worker(t, rs[0].Relay, "b", "", "")
	rs[1].worker(t, rs[1].Relay, "a", "", "")
	rs[0].lists <- struct{}{} // others wait, too
	begin := time.Now()
	_, l := rs[0].getList(t, "?timeout=500ms", nil)
	if got, want := l.String(), "a@r1 b@r0 !gone !http://127.0.0.1:1 !odd !silent"; got != want {
		t.Errorf("the list is %s, want %s", got, want)
	}
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("the list took %v", took)
	}
	for range cap(rs[0].lists) - 1 {
		rs[0].lists <- struct{}{}
	}
	if code, _ := rs[0].getList(t, "?timeout=10ms", nil); code != http.StatusServiceUnavailable {
		t.Errorf("with too many lists: status %d, want 503", code)
	}
}

// The merged lists of several relays are that of all their Workers.
func TestMergeLists(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		const limit = 5
		newest := map[string]WorkerInfo{}
		merged := &List{Workers: []WorkerInfo{}}
		for relay := range 4 {
			var l List
			for i := range 10 {
				if random.IntN(4) > 0 {
					continue
				}
				info := WorkerInfo{Name: fmt.Sprint("w-", i), Relay: fmt.Sprint("r", relay), Since: time.Unix(random.Int64N(1e9), 0)}
				if info.Since.After(newest[info.Name].Since) {
					newest[info.Name] = info
				}
				l.Workers = append(l.Workers, info)
			}
			l.More = len(l.Workers) > limit
			l.Workers = l.Workers[:min(limit, len(l.Workers))]
			merged.merge(&l, limit)
		}
		want := &List{Workers: []WorkerInfo{}}
		for _, info := range newest {
			want.Workers = append(want.Workers, info)
		}
		slices.SortFunc(want.Workers, func(a, b WorkerInfo) int { return strings.Compare(a.Name, b.Name) })
		if want.More = len(want.Workers) > limit; want.More {
			want.Workers = want.Workers[:limit]
		}
		if merged.String() != want.String() {
			t.Fatalf("merged: %s, want %s", merged, want)
		}
	}
}

// FetchList leaves time for the relay's answer when others are silent.
func TestFetchListInTime(t *testing.T) {
	t.Parallel()
	silent := tunneltest.Listen(t)
	r := newFleet(t, 1, func(_ int, o *Options) {
		o.Directory = &others{peers: []Peer{{"silent", "http://" + silent.Addr().String()}}}
	})[0]
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l, err := FetchList(ctx, r.url, "", 5, &tunnel.DialOptions{Proxy: "none"})
	if err != nil || l.String() != "!silent" {
		t.Errorf("FetchList = %v, %v, want the silent relay missing", l, err)
	}
}
