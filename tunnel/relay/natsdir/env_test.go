package natsdir

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// newServer starts a NATS server. change, which may be nil, changes its options.
func newServer(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true}
	if change != nil {
		change(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(tunneltest.Patience) {
		t.Fatal("the NATS server doesn't start")
	}
	return s
}

// newCluster starts a cluster of two NATS servers.
func newCluster(t *testing.T) (one, two *server.Server) {
	t.Helper()
	cluster := func(opts *server.Options) {
		opts.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1, NoAdvertise: true, PoolSize: -1}
	}
	one = newServer(t, cluster)
	two = newServer(t, func(opts *server.Options) {
		cluster(opts)
		opts.Routes = []*url.URL{{Scheme: "nats", Host: one.ClusterAddr().String()}}
	})
	tunneltest.Eventually(t, "the route", func() bool { return one.NumRoutes() > 0 && two.NumRoutes() > 0 })
	return one, two
}

// connect returns the Directory of the relay with an ID.
func connect(t *testing.T, id, servers string) *Directory {
	t.Helper()
	d, err := Connect(Options{Servers: servers, ID: id, URL: "http://" + id + ".example:7070"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func urlOf(id string) string { return "http://" + id + ".example:7070" }

// connectAll returns the Directories of relays that are connected.
func connectAll(t *testing.T, servers string, ids ...string) (list []*Directory) {
	t.Helper()
	for _, id := range ids {
		d := connect(t, id, servers)
		awaitConnected(t, d)
		list = append(list, d)
	}
	return list
}

func awaitConnected(t *testing.T, d *Directory) {
	t.Helper()
	tunneltest.Eventually(t, "the connection", func() bool { return d.conn.IsConnected() })
}

// raw returns a NATS connection.
func raw(t *testing.T, servers string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(servers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var (
	instanceA = strings.Repeat("a", 32)
	instanceB = strings.Repeat("b", 32)
)

// yields collects the calls of yield.
type yields struct {
	mu   sync.Mutex
	list []string
}

func (y *yields) yield(instance string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.list = append(y.list, instance)
}

func (y *yields) get() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return append([]string{}, y.list...)
}

// locate returns where a name is, "" if it isn't found within d.
func (d *Directory) locateWithin(name string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return d.Locate(ctx, name)
}

// awaitAt waits until d finds a name at the relay with an ID.
func (d *Directory) awaitAt(t *testing.T, name, id string) {
	t.Helper()
	tunneltest.Eventually(t, name+" at "+id, func() bool {
		got, _ := d.locateWithin(name, 100*time.Millisecond)
		return got == urlOf(id)
	})
}

// from returns an instance at its seq-th dial. Further calls return later ones.
func from(instance string, seq uint64) relay.Instance {
	return relay.Instance{ID: instance, Seq: seq, Since: time.Now()}
}
