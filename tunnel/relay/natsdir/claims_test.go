package natsdir

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// fleet is some relays whose claims to one name are delivered late, again, and in any order,
// and a Worker whose dials arrive at any of them.
type fleet struct {
	random  *rand.Rand
	clock   int64
	relays  []*claims
	skews   []int64
	sent    []claim           // messages, which may be delivered any number of times
	pending []map[int]bool    // by index in sent: the relays that it hasn't reached
	seqs    map[string]uint64 // of instances
	since   map[string]int64
	forgets bool // Workers don't repeat their Since
	current map[string]*arrived
}

// arrived is a session of an instance.
type arrived struct {
	relay   int
	release func()
}

const (
	name    = "w"
	minutes = 600 // the largest skew of a clock; a dial takes 1
)

// dial makes an instance arrive at a relay. Its session there before ends later.
func (f *fleet) dial(instance string) {
	f.clock++
	f.seqs[instance]++
	to := f.random.IntN(len(f.relays))
	if f.seqs[instance] == 1 || f.forgets {
		f.since[instance] = f.clock + f.skews[to]
	}
	c := claim{instance, f.seqs[instance], fmt.Sprint("r", to), f.since[instance]}
	if e := f.relays[to].entries[name]; e != nil && e.claim != nil && e.claim.Instance != instance {
		if old := e.claim.Instance; c.compare(e.claim.claim) < 0 {
			delete(f.current, instance)
			return
		} else if f.current[old] != nil && f.current[old].relay == to {
			delete(f.current, old)
		}
	}
	a := &arrived{relay: to}
	a.release = f.relays[to].add(name, &ownClaim{c, func(by string) {
		if f.current[instance] != a {
			return
		}
		delete(f.current, instance)
		if by == instance { // GoAway on the session in use
			f.dial(instance)
		}
	}})
	f.current[instance] = a
	f.publish(to)
}

func (f *fleet) publish(i int) {
	for name := range f.relays[i].takeChanged() {
		if e, c := f.relays[i].take(name); e != nil && c != nil {
			reach := map[int]bool{}
			for j := range f.relays {
				reach[j] = j != i
			}
			delete(reach, i)
			f.sent, f.pending = append(f.sent, c.claim), append(f.pending, reach)
		}
	}
}

func (f *fleet) deliver(msg, to int) {
	delete(f.pending[msg], to)
	f.relays[to].receive(name, f.sent[msg])
	f.publish(to)
}

// step delivers a message, perhaps one that was delivered before, at a random relay.
func (f *fleet) step() {
	if len(f.sent) > 0 {
		msg := f.random.IntN(len(f.sent))
		if to := f.random.IntN(len(f.relays)); f.sent[msg].Relay != fmt.Sprint("r", to) {
			f.deliver(msg, to)
		}
	}
}

// settle delivers all messages.
func (f *fleet) settle(t *testing.T) {
	t.Helper()
	const most = 100_000
	for range most {
		done := true
		for _, msg := range f.random.Perm(len(f.sent)) {
			for to := range f.pending[msg] {
				f.deliver(msg, to)
				done = false
			}
		}
		if done {
			return
		}
	}
	t.Fatal("the claims don't settle")
}

func newFleet(seed uint64, skew int64) *fleet {
	f := &fleet{random: rand.New(rand.NewPCG(seed, 1)), seqs: map[string]uint64{}, since: map[string]int64{}, current: map[string]*arrived{}}
	for range 3 {
		f.relays = append(f.relays, newClaims())
		f.skews = append(f.skews, f.random.Int64N(skew+1))
	}
	return f
}

func (f *fleet) owners() (list []int) {
	for i, cs := range f.relays {
		if cs.has(name) {
			list = append(list, i)
		}
	}
	return list
}

// However the claims of one instance are delivered, and however wrong the clocks are, one
// relay has the name in the end: the one with the session that the Worker uses.
func FuzzClaims(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		instance := strings.Repeat("a", 32)
		fl := newFleet(seed, minutes)
		fl.forgets = seed%2 == 0
		var old []*arrived
		for range 1 + fl.random.IntN(20) {
			if a := fl.current[instance]; a != nil {
				old = append(old, a)
			}
			fl.dial(instance)
			for range fl.random.IntN(6) {
				fl.step()
			}
			if len(old) > 0 && fl.random.IntN(2) == 0 {
				old[0].release()
				old = old[1:]
			}
		}
		fl.settle(t) // the old sessions may last
		current := fl.current[instance]
		if current == nil {
			t.Fatal("the worker has no session")
		}
		if owners := fl.owners(); len(owners) != 1 || owners[0] != current.relay {
			t.Errorf("owners %v, want %d", owners, current.relay)
		}
	})
}

// Of several instances that claim one name, the latest is left, and has the session that it uses,
// however wrong the clocks are. Those that were replaced dial again later, and lose again.
func FuzzRivals(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		fl := newFleet(seed, minutes)
		fl.rivals(t)
		latest := ""
		for instance := range fl.seqs {
			if latest == "" || cmp.Or(cmp.Compare(fl.since[instance], fl.since[latest]), cmp.Compare(instance, latest)) > 0 {
				latest = instance
			}
		}
		for again := range 3 {
			if owners, a := fl.owners(), fl.current[latest]; a == nil || len(owners) != 1 || owners[0] != a.relay || len(fl.current) != 1 {
				t.Fatalf("after %d more dials: owners %v, sessions %v, want the latest's only", again, owners, fl.current)
			}
			for _, instance := range slices.Sorted(maps.Keys(fl.seqs)) {
				if instance != latest {
					fl.dial(instance)
				}
			}
			fl.settle(t)
		}
	})
}

// Of instances that don't repeat their Since, and with clocks that are wrong, at most one is
// left. If all have lost, the next one that dials again is found.
func FuzzForgetfulRivals(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		fl := newFleet(seed, minutes)
		fl.forgets = true
		fl.rivals(t)
		if owners := fl.owners(); len(owners) > 1 {
			t.Errorf("owners %v, want at most one", owners)
		}
		for _, instance := range slices.Sorted(maps.Keys(fl.seqs)) {
			fl.dial(instance)
			fl.settle(t)
			if owners := fl.owners(); len(owners) != 1 {
				t.Errorf("owners %v after another dial, want one", owners)
			}
		}
	})
}

// rivals makes three instances dial, and delivers all messages.
func (f *fleet) rivals(t *testing.T) {
	t.Helper()
	for range 1 + f.random.IntN(20) {
		f.dial(strings.Repeat(string("abc"[f.random.IntN(3)]), 32))
		for range f.random.IntN(6) {
			f.step()
		}
	}
	f.settle(t)
}

// The order of claims has no circles if each instance has one At.
func TestOrder(t *testing.T) {
	t.Parallel()
	var all []claim
	for i, instance := range []string{"", "a", "b"} {
		for seq := range uint64(3) {
			for _, relay := range []string{"r1", "r2"} {
				all = append(all, claim{instance, seq, relay, int64(i / 2)})
			}
		}
	}
	for _, x := range all {
		for _, y := range all {
			if x.compare(y) != -y.compare(x) || x.compare(y) == 0 && x != y && x.Instance != "" {
				t.Errorf("%+v and %+v: %d and %d", x, y, x.compare(y), y.compare(x))
			}
			for _, z := range all {
				if x.compare(y) > 0 && y.compare(z) > 0 && x.compare(z) <= 0 {
					t.Errorf("a circle: %+v, %+v, %+v", x, y, z)
				}
			}
		}
	}
}
