package natsdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

const short = 50 * time.Millisecond

func ignore(string) {}

// A name is found at the relay that has it, by the others and as long as that has it.
func TestLocate(t *testing.T) {
	t.Parallel()
	ds := connectAll(t, newServer(t, nil).ClientURL(), "r1", "r2", "r3")
	release := ds[0].Claim("w", from(instanceA, 1), ignore)
	for _, d := range ds[1:] {
		d.awaitAt(t, "w", "r1")
		if url, err := d.locateWithin("w2", short); url != "" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Locate(w2) = %q, %v, want the end of the context", url, err)
		}
	}
	if url, err := ds[0].locateWithin("w", short); url != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Locate at the relay itself = %q, %v, want the end of the context", url, err)
	}
	release()
	release()
	tunneltest.Eventually(t, "the end of the claim", func() bool {
		url, err := ds[1].locateWithin("w", short)
		return url == "" && errors.Is(err, context.DeadlineExceeded)
	})
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := ds[1].Locate(ctx, "w2"); err == nil {
		t.Error("Locate after the end of its context: no error")
	}
}

// Locate returns when the Worker arrives.
func TestArrival(t *testing.T) {
	t.Parallel()
	ds := connectAll(t, newServer(t, nil).ClientURL(), "r1", "r2")
	type result struct {
		url  string
		took time.Duration
	}
	located := make(chan result, 1)
	var begin time.Time
	ds[1].awaitPeers(t, "r1") // further messages are answers to Locate
	subs, answers := ds[1].conn.NumSubscriptions(), ds[1].conn.Stats().InMsgs
	go func() {
		url, err := ds[1].locateWithin("w", tunneltest.Patience)
		if err != nil {
			t.Error(err)
		}
		located <- result{url, time.Since(begin)}
	}()
	tunneltest.Eventually(t, "the subscription", func() bool { return ds[1].conn.NumSubscriptions() > subs && ds[1].conn.Stats().InMsgs >= answers+2 })
	begin = time.Now()
	ds[0].Claim("w", from(instanceA, 1), ignore)
	if r := tunneltest.Await(t, "Locate", located); r.url != urlOf("r1") {
		t.Errorf("Locate = %q, want r1", r.url)
	} else if r.took > retryAbsent/2 {
		t.Errorf("Locate took %v after the arrival", r.took)
	}
}

// The relay with the older claim yields, and one that claims again only replaces its own.
func TestYield(t *testing.T) {
	t.Parallel()
	ds := connectAll(t, newServer(t, nil).ClientURL(), "r1", "r2", "r3")
	var ys [3]yields
	claim := func(i int, instance string, seq uint64) func() {
		return ds[i].Claim("w", from(instance, seq), ys[i].yield)
	}
	old := claim(0, instanceA, 1)
	ds[2].awaitAt(t, "w", "r1")
	claim(0, instanceA, 2)
	old() // was replaced
	claim(1, instanceA, 3)
	tunneltest.Eventually(t, "the first yield", func() bool { return slices.Equal(ys[0].get(), []string{instanceA}) })
	ds[2].awaitAt(t, "w", "r2")
	claim(0, instanceA, 2) // a session that was dialed earlier
	tunneltest.Eventually(t, "the yield of the late claim", func() bool { return slices.Equal(ys[0].get(), []string{instanceA, instanceA}) })
	claim(2, instanceB, 1)
	tunneltest.Eventually(t, "the yield to a rival", func() bool { return slices.Equal(ys[1].get(), []string{instanceB}) })
	ds[0].awaitAt(t, "w", "r3")
	if got := ys[2].get(); len(got) > 0 {
		t.Errorf("the newest claim yields to %v", got)
	}
}

// Two relays have claimed a name while one of them had no NATS. When that is back, the other
// one yields or it does, and both find the names of the other.
func TestReconnect(t *testing.T) {
	t.Parallel()
	for _, newest := range []string{"r1", "r2"} {
		t.Run(newest, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, nil)
			proxy := tunneltest.NewRelay(t, s.Addr().String())
			ds := connectAll(t, s.ClientURL(), "r1", "r3")
			cut := connectAll(t, "nats://"+proxy.Addr(), "r2")[0]
			proxy.Freeze()
			proxy.Cut()
			tunneltest.Eventually(t, "the loss", func() bool { return !cut.conn.IsConnected() })
			var here, there yields
			seq := map[string]uint64{newest: 2}
			ds[0].Claim("w", from(instanceA, 1+seq["r1"]), here.yield)
			cut.Claim("w", from(instanceA, 1+seq["r2"]), there.yield)
			cut.Claim("w2", from(instanceA, 1), ignore)
			if _, err := cut.locateWithin("w", short); !errors.Is(err, errDown) {
				t.Errorf("Locate without NATS: %v, want %v", err, errDown)
			}
			proxy.Thaw()
			loser, other := &here, &there
			if newest == "r1" {
				loser, other = &there, &here
			}
			tunneltest.Eventually(t, "the yield", func() bool { return len(loser.get()) == 1 })
			ds[1].awaitAt(t, "w", newest)
			ds[1].awaitAt(t, "w2", "r2")
			if got := other.get(); len(got) > 0 {
				t.Errorf("%s yields to %v", newest, got)
			}
		})
	}
}

// A relay starts without NATS, and its claims are found once there is one.
func TestStartWithout(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	proxy := tunneltest.NewRelay(t, s.Addr().String())
	proxy.Freeze()
	d := connect(t, "r1", "nats://"+proxy.Addr())
	d.Claim("w", from(instanceA, 1), ignore)
	if _, err := d.locateWithin("w2", short); !errors.Is(err, errDown) {
		t.Errorf("Locate without NATS: %v, want %v", err, errDown)
	}
	proxy.Thaw()
	connectAll(t, s.ClientURL(), "r2")[0].awaitAt(t, "w", "r1")
}

// Of two servers one is killed or frozen: all names are found again.
func TestServerLost(t *testing.T) {
	t.Parallel()
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen %v", frozen), func(t *testing.T) {
			t.Parallel()
			one, two := newCluster(t)
			proxy := tunneltest.NewRelay(t, one.Addr().String())
			var ds []*Directory
			for i, servers := range []string{"nats://" + proxy.Addr(), two.ClientURL(), "nats://" + proxy.Addr()} {
				d := connectAll(t, servers, fmt.Sprint("r", i))[0]
				ds = append(ds, d)
				d.Claim(fmt.Sprint("w", i), from(instanceA, 1), ignore)
			}
			findAll := func() {
				for i, d := range ds {
					for j := range ds {
						if i != j {
							d.awaitAt(t, fmt.Sprint("w", j), fmt.Sprint("r", j))
						}
					}
				}
			}
			findAll()
			for _, d := range ds { // as if all had been given both servers
				if err := d.conn.SetServerPool([]string{"nats://" + proxy.Addr(), two.ClientURL()}); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			if frozen {
				proxy.Freeze()
				tunneltest.Eventually(t, "the loss", func() bool { return ds[0].conn.ConnectedUrl() == two.ClientURL() })
			} else {
				one.Shutdown()
			}
			findAll()
			t.Logf("all found after %v", time.Since(begin).Round(time.Millisecond))
		})
	}
}

// The answers and claims of a hostile program on NATS aren't followed, and names aren't
// wildcards.
func TestHostile(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	ds := connectAll(t, s.ClientURL(), "r1", "r2")
	var y yields
	ds[0].Claim("w", from(instanceA, 1), y.yield)
	ds[1].awaitAt(t, "w", "r1")
	rogue := raw(t, s.ClientURL())
	for i, answer := range []string{
		"", "{", "null", "[]", `{"url":1}`, `{"url":""}`, `{"url":"http://"}`, `{"url":"ftp://h"}`, `{"url":"http://u:p@h"}`,
		`{"url":"http://h/?q"}`, `{"url":"http://h/#f"}`, `{"url":"http://h/../x"}`, `{"url":"http://h/%2e"}`, `{"url":"//h"}`,
		`{"url":"http://h/` + strings.Repeat("a", maxPayload) + `"}`, `{"url":"http://h/","x":"` + strings.Repeat("a", 1<<16) + `"}`,
	} {
		name := fmt.Sprint("bad-", i)
		sub, err := rogue.SubscribeSync(namePrefix + name)
		if err != nil {
			t.Fatal(err)
		}
		_ = rogue.Flush()
		done := make(chan error, 1)
		go func() {
			_, err := ds[1].locateWithin(name, 300*time.Millisecond)
			done <- err
		}()
		for range 2 {
			m, err := sub.NextMsg(tunneltest.Patience)
			if err != nil {
				t.Fatal(err)
			}
			_ = m.Respond([]byte(answer))
			_ = rogue.Publish(arrivalPrefix+name, []byte(answer))
		}
		if err := tunneltest.Await(t, "Locate", done); err == nil {
			t.Errorf("Locate follows %.60q", answer)
		}
	}
	newest, _ := json.Marshal(message{&claim{instanceB, 9, "r9", time.Now().Add(time.Hour).UnixNano()}})
	for _, text := range []string{
		"", "{", "null", `{"claim":null}`, `{"claim":1}`, `{"claim":{"at":9e99}}`,
		strings.Replace(string(newest), instanceB, "B", 1),
		strings.Replace(string(newest), "r9", strings.Repeat("r", maxID+1), 1),
		string(newest) + strings.Repeat(" ", maxPayload),
	} {
		_ = rogue.Publish(namePrefix+"w", []byte(text))
		_ = rogue.PublishRequest(namePrefix+"w", arrivalPrefix+"other", []byte(text)) // not to an inbox
	}
	if _, err := rogue.Request(namePrefix+"w", nil, tunneltest.Patience); err != nil { // all were handled
		t.Fatal(err)
	}
	if got := y.get(); len(got) > 0 {
		t.Errorf("yields to %v", got)
	}
	for _, name := range []string{"", "*", ">", "a.b", "A", "w ", "%77", strings.Repeat("a", 64)} {
		ds[1].Claim(name, from(instanceA, 1), ignore)()
		if _, err := ds[1].locateWithin(name, short); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Locate(%q) = %v, want an error", name, err)
		}
	}
	if n := ds[1].conn.NumSubscriptions(); n > 3 {
		t.Errorf("%d subscriptions, want at most those for answers and of relays", n)
	}
	_ = rogue.Publish(namePrefix+"w", newest)
	tunneltest.Eventually(t, "the yield to a valid claim", func() bool { return len(y.get()) == 1 })
}

// A name costs the relay less than 1 KiB.
func TestCost(t *testing.T) { // not parallel: it measures the heap
	const names, most = 10_000, 1024
	proxy := tunneltest.NewRelay(t, newServer(t, nil).Addr().String())
	proxy.Freeze() // the server's memory is in this process, too
	d := connect(t, "r1", "nats://"+proxy.Addr())
	list := make([]string, names)
	for i := range list {
		list[i] = fmt.Sprintf("worker-%d", i)
	}
	before := heap()
	for _, name := range list {
		d.Claim(name, from(instanceA, 1), ignore)
	}
	tunneltest.Eventually(t, "the subscriptions", func() bool { return d.conn.NumSubscriptions() >= names })
	cost := (heap() - before) / names
	t.Logf("a name costs %d bytes", cost)
	if cost > most {
		t.Errorf("a name costs %d bytes, want at most %d", cost, most)
	}
	runtime.KeepAlive(list)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Invalid options are refused at once.
func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	for _, opts := range []Options{
		{Servers: "nats://127.0.0.1:1", ID: "r1"},
		{Servers: "nats://127.0.0.1:1", ID: "r1", URL: "http://u@h"},
		{Servers: "nats://127.0.0.1:x", ID: "r1", URL: "http://h"},
		{Servers: "nats://127.0.0.1:1", ID: "r1", URL: "http://h", CACert: "missing"},
		{Servers: "nats://127.0.0.1:1", ID: "r1", URL: "http://h", Cert: "missing", Key: "missing"},
		{Servers: "nats://127.0.0.1:1", ID: strings.Repeat("r", maxID+1), URL: "http://h"},
	} {
		if d, err := Connect(opts); err == nil {
			d.Close()
			t.Errorf("Connect(%+v): no error", opts)
		}
	}
}

// Without the right password the directory keeps trying.
func TestPassword(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(o *server.Options) { o.Username, o.Password = "u", "secret" })
	d := connect(t, "r1", s.ClientURL())
	if _, err := d.locateWithin("w", 2*reconnectWait); !errors.Is(err, errDown) {
		t.Errorf("Locate without a password: %v", err)
	}
	connectAll(t, strings.Replace(s.ClientURL(), "://", "://u:secret@", 1), "r2")
}
