package natsdir

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// awaitPeers waits until d knows the relays with these IDs.
func (d *Directory) awaitPeers(t *testing.T, ids ...string) {
	t.Helper()
	var list []relay.Peer
	tunneltest.Eventually(t, fmt.Sprint("the relays ", ids), func() bool {
		list = d.Peers(t.Context())
		if len(list) != len(ids) {
			return false
		}
		for _, id := range ids {
			found := false
			for _, p := range list {
				found = found || p == relay.Peer{ID: id, URL: urlOf(id)}
			}
			if !found {
				return false
			}
		}
		return true
	})
}

// Relays know each other, and those that have just gone silent, until a minute later.
func TestPeers(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	proxy := tunneltest.NewRelay(t, s.Addr().String())
	ds := connectAll(t, s.ClientURL(), "r1", "r2")
	frozen := connectAll(t, "nats://"+proxy.Addr(), "r3")[0]
	ds[0].awaitPeers(t, "r2", "r3")
	ds[1].awaitPeers(t, "r1", "r3")
	frozen.awaitPeers(t, "r1", "r2")

	begin := time.Now()
	ds[0].Peers(t.Context())
	if took := time.Since(begin); took >= peersWait {
		t.Errorf("Peers took %v, though all answer", took)
	}
	proxy.Freeze()
	begin = time.Now()
	ds[0].awaitPeers(t, "r2", "r3")
	if took := time.Since(begin); took < peersWait {
		t.Errorf("Peers took %v, though one is silent", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list := ds[0].Peers(ctx); len(list) != 2 {
		t.Errorf("Peers with an ended context = %v, want what is known", list)
	}
	ds[0].peers.mu.Lock()
	ds[0].peers.known[urlOf("r3")].missing = time.Now().Add(-2 * forget)
	ds[0].peers.mu.Unlock()
	ds[0].awaitPeers(t, "r2")
	proxy.Thaw()
	ds[0].awaitPeers(t, "r2", "r3")

	// Without NATS, a relay knows those of before.
	proxy.Freeze()
	proxy.Cut()
	tunneltest.Eventually(t, "the loss", func() bool { return !frozen.conn.IsConnected() })
	frozen.awaitPeers(t, "r1", "r2")
	proxy.Thaw()

	again, err := Connect(Options{Servers: s.ClientURL(), ID: "r4", URL: urlOf("r4")})
	if err != nil {
		t.Fatal(err)
	}
	ds[0].awaitPeers(t, "r2", "r3", "r4")
	again.Close()
	ds[0].awaitPeers(t, "r2", "r3")
}

// Messages of other programs make no relay known that isn't valid, and at most maxPeers.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	d := connectAll(t, s.ClientURL(), "r1")[0]
	rogue := raw(t, s.ClientURL())
	tunneltest.Eventually(t, "an answer of r1", func() bool {
		_, err := rogue.Request(peersSubject, []byte("{}"), tunneltest.Patience)
		return err == nil
	})
	for _, text := range []string{"", "{", `{"url":"http://u@h","relay":"r2"}`, `{"url":"http://h","relay":"../r"}`, `{"url":"http://h"}`, `{"relay":"r2","leaving":true}`} {
		_ = rogue.Publish(peersSubject, []byte(text))
		_ = rogue.PublishRequest(peersSubject, peersSubject, []byte(text)) // not an inbox
	}
	for i := range maxPeers + 100 {
		_ = rogue.Publish(peersSubject, fmt.Appendf(nil, `{"url":"http://h%d","relay":"r2"}`, i))
	}
	if _, err := rogue.Request(peersSubject, []byte("{}"), tunneltest.Patience); err != nil { // all were handled
		t.Fatal(err)
	}
	if n := len(d.Peers(t.Context())); n != maxPeers {
		t.Errorf("%d relays are known, want %d", n, maxPeers)
	}
}

// A relay that returns with another URL isn't known twice.
func TestPeerMoves(t *testing.T) {
	t.Parallel()
	ps := newPeers()
	ps.receive([]byte(`{"url":"http://old","relay":"r1"}`))
	ps.list(time.Now().Add(time.Second))
	ps.receive([]byte(`{"url":"http://new","relay":"r1"}`))
	if list := ps.list(time.Time{}); len(list) != 1 || list[0].URL != "http://new" {
		t.Errorf("the relays are %v, want only the new URL", list)
	}
}
