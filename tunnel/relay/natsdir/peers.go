package natsdir

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wstun/wstun/tunnel/relay"
)

const (
	// peersSubject is where relays say that they are there, and ask the others to.
	peersSubject = "wstun.relays"

	peersWait = 300 * time.Millisecond // for the answers of the others
	forget    = time.Minute            // a relay that doesn't answer
	maxPeers  = 1000                   // further ones are ignored
)

// peers are the other relays.
type peers struct {
	mu      sync.Mutex
	known   map[string]*peer // by URL
	changed chan struct{}    // closed at the next answer
}

type peer struct {
	id      string
	seen    time.Time // the last answer
	missing time.Time // when it first hasn't answered since; zero: it has
}

func newPeers() *peers { return &peers{known: map[string]*peer{}, changed: make(chan struct{})} }

// receive handles the message of another relay.
func (ps *peers) receive(data []byte) {
	var l location
	if len(data) > maxPayload || json.Unmarshal(data, &l) != nil || relay.CheckURL(l.URL) != nil || relay.CheckName(l.Relay) != nil {
		return
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if l.Leaving {
		delete(ps.known, l.URL)
	} else if ps.known[l.URL] != nil || len(ps.known) < maxPeers {
		ps.known[l.URL] = &peer{id: l.Relay, seen: time.Now()}
	}
	maps.DeleteFunc(ps.known, func(url string, p *peer) bool { // it has another URL now
		return p.id == l.Relay && url != l.URL && !p.missing.IsZero()
	})
	close(ps.changed)
	ps.changed = make(chan struct{})
}

// silent reports whether some relay hasn't answered since begin, or none is known. changed is
// closed at the next answer.
func (ps *peers) silent(begin time.Time) (silent bool, changed <-chan struct{}) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.known {
		silent = silent || p.seen.Before(begin)
	}
	return silent || len(ps.known) == 0, ps.changed
}

// list returns the relays, and forgets those that haven't answered for a while.
func (ps *peers) list(begin time.Time) (list []relay.Peer) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for url, p := range ps.known {
		switch {
		case !p.seen.Before(begin):
		case p.missing.IsZero():
			p.missing = begin
		case begin.Sub(p.missing) > forget:
			delete(ps.known, url)
			continue
		}
		list = append(list, relay.Peer{ID: p.id, URL: url})
	}
	return list
}

// Peers implements relay.Directory. It also returns the relays that haven't answered for less
// than a minute.
func (d *Directory) Peers(ctx context.Context) []relay.Peer {
	begin := time.Now()
	timer := time.NewTimer(peersWait)
	defer timer.Stop()
	for waiting := d.announce() == nil; waiting; {
		silent, changed := d.peers.silent(begin)
		if !silent {
			break
		}
		select {
		case <-changed:
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	return d.peers.list(begin)
}

// announce tells the other relays about this one, and asks them to answer.
func (d *Directory) announce() error {
	if !d.conn.IsConnected() {
		return errDown
	}
	return d.conn.PublishRequest(peersSubject, d.inbox, []byte(d.answer))
}

// leave tells the other relays that this one leaves.
func (d *Directory) leave() {
	text, err := json.Marshal(location{URL: d.url, Relay: d.id, Leaving: true})
	if err == nil && d.conn.IsConnected() && d.conn.Publish(peersSubject, text) == nil {
		_ = d.conn.FlushTimeout(flushTimeout)
	}
}

// answerPeer handles a message about another relay.
func (d *Directory) answerPeer(m *nats.Msg) {
	d.peers.receive(m.Data)
	if m.Reply != "" {
		d.respond(m, d.answer)
	}
}
