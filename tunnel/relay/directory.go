package relay

import (
	"context"
	"sync"
	"time"
)

// Directory finds Workers that are connected to other relays. Each relay has its own
// Directory, and all of these share their claims. A relay without one is alone.
type Directory interface {
	// Claim records that a Worker's instance has connected to this relay, so that others
	// find it here. The newest claim to a name is in force: that of the instance with the
	// latest Since, and of one instance that with the largest Seq. A claim replaces an
	// earlier one of this relay.
	// When another relay claims the name, yield is called, once, with the instance there.
	// release withdraws the claim, unless it was replaced; yield may still be running then.
	// Neither function blocks or waits for yield.
	Claim(name string, by Instance, yield func(instance string)) (release func())

	// Locate waits until another relay has the Worker, and returns the URL of that relay,
	// which CheckURL accepts. When ctx ends, it returns the cause at once, or another error
	// if the Directory doesn't work.
	Locate(ctx context.Context, name string) (url string, err error)

	// Peers returns the other relays, among them those that have ceased to answer within
	// the last minute. It waits for the answers of others, at most until ctx ends.
	Peers(ctx context.Context) []Peer
}

// Instance is a process that is a Worker, at one of its dials.
type Instance struct {
	ID  string // "" if it is unknown
	Seq uint64 // the number of the dial

	// Since is when a relay has first accepted the instance, by the clock of that relay.
	// Since it stays the same, the claims to a name have one order at all relays, also if
	// their clocks differ.
	Since time.Time
}

// Peer is another relay.
type Peer struct {
	ID  string // "" if it is unknown
	URL string // CheckURL accepts it
}

// Memory is the Directory of relays in one process. The zero value is ready to use.
type Memory struct {
	mu      sync.Mutex
	urls    []string
	claims  map[string]*memoryClaim
	changed chan struct{} // closed at the next claim; nil until somebody waits for it
}

type memoryClaim struct {
	url   string
	yield func(instance string)
}

// At returns the view of the relay with this URL, which must be its own.
func (m *Memory) At(url string) Directory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.urls = append(m.urls, url)
	return &memoryView{m, url}
}

type memoryView struct {
	*Memory

	url string
}

func (v *memoryView) Claim(name string, by Instance, yield func(instance string)) (release func()) {
	c := &memoryClaim{v.url, yield}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.claims == nil {
		v.claims = map[string]*memoryClaim{}
	}
	if old := v.claims[name]; old != nil && old.url != v.url {
		go old.yield(by.ID)
	}
	v.claims[name] = c
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.claims[name] == c {
			delete(v.claims, name)
		}
	}
}

func (v *memoryView) Locate(ctx context.Context, name string) (url string, err error) {
	for {
		url, changed := v.find(name)
		if url != "" {
			return url, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// find returns the URL of the other relay that has the Worker, or a channel that is closed
// at the next claim.
func (v *memoryView) find(name string) (url string, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.claims[name]; c != nil && c.url != v.url {
		return c.url, nil
	}
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return "", v.changed
}

func (v *memoryView) Peers(context.Context) (peers []Peer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, url := range v.urls {
		if url != v.url {
			peers = append(peers, Peer{URL: url})
		}
	}
	return peers
}
