package natsdir

import (
	"cmp"
	"sync"

	"github.com/nats-io/nats.go"
)

// claim is a relay's claim to a name, in a message to the relays that have the name.
type claim struct {
	Instance string `json:"instance,omitempty"`
	Seq      uint64 `json:"seq,omitempty"`
	Relay    string `json:"relay"`
	At       int64  `json:"at"` // the Since of the instance, in ns since 1970
}

// compare orders the claims to a name, in the same way at all relays: the later dial of one
// instance is newer, and otherwise the later instance. All claims of one instance have the
// same At, so there is no circle of claims that are each newer than the next, whatever the
// clocks of the relays say.
func (c claim) compare(o claim) int {
	if c.Instance != "" && c.Instance == o.Instance && c.Seq != o.Seq {
		return cmp.Compare(c.Seq, o.Seq)
	}
	return cmp.Or(cmp.Compare(c.At, o.At), cmp.Compare(c.Instance, o.Instance), cmp.Compare(c.Relay, o.Relay))
}

// entry is a name of this relay.
type entry struct {
	claim *ownClaim          // nil: it was withdrawn, and the subscription is to end
	sub   *nats.Subscription // of the goroutine of run
}

type ownClaim struct {
	claim

	yield func(instance string)
}

// claims are the claims of this relay.
type claims struct {
	mu      sync.Mutex
	entries map[string]*entry
	changed map[string]struct{} // names whose claims aren't published yet, or were withdrawn
	wake    chan struct{}       // has a value when changed isn't empty
}

func newClaims() *claims {
	return &claims{entries: map[string]*entry{}, changed: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

// add makes c the claim to a name. release withdraws it unless another one has replaced it.
func (cs *claims) add(name string, c *ownClaim) (release func()) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e := cs.entries[name]
	if e == nil {
		e = &entry{}
		cs.entries[name] = e
	}
	e.claim = c
	cs.change(name)
	return func() {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		cs.withdraw(name, c)
	}
}

// withdraw withdraws c if it is still the claim to the name. The caller holds cs.mu.
func (cs *claims) withdraw(name string, c *ownClaim) {
	if e := cs.entries[name]; e != nil && e.claim == c {
		e.claim = nil
		cs.change(name)
	}
}

// change makes run publish the state of a name. The caller holds cs.mu.
func (cs *claims) change(name string) {
	cs.changed[name] = struct{}{}
	select {
	case cs.wake <- struct{}{}:
	default:
	}
}

// changeAll makes run publish all claims again.
func (cs *claims) changeAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for name := range cs.entries {
		cs.change(name)
	}
}

// has reports whether this relay has a claim to the name.
func (cs *claims) has(name string) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e := cs.entries[name]
	return e != nil && e.claim != nil
}

// receive handles a claim of another relay: if it is newer, it withdraws the one of this
// relay, and otherwise publishes that again, so that exactly one of the two relays yields.
func (cs *claims) receive(name string, c claim) {
	cs.mu.Lock()
	e := cs.entries[name]
	if e == nil || e.claim == nil {
		cs.mu.Unlock()
		return
	}
	own := e.claim
	order := c.compare(own.claim)
	switch {
	case order > 0:
		cs.withdraw(name, own)
	case order < 0:
		cs.change(name)
	}
	cs.mu.Unlock()
	if order > 0 {
		own.yield(c.Instance)
	}
}

// takeChanged returns the names whose claims have changed.
func (cs *claims) takeChanged() map[string]struct{} {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	names := cs.changed
	cs.changed = map[string]struct{}{}
	return names
}

// take returns the entry of a name and its claim, nil if that was withdrawn: the entry is
// then removed. It returns nil if there is no entry.
func (cs *claims) take(name string) (*entry, *ownClaim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e := cs.entries[name]
	if e == nil {
		return nil, nil
	}
	if e.claim == nil {
		delete(cs.entries, name)
	}
	return e, e.claim
}
