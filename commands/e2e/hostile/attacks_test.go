//go:build linux && !race

package hostile

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	mib = 1 << 20

	// attackTime is the most time that an attack takes, and stuckTime how long it waits
	// for a victim that has stopped reading and is idle.
	attackTime = 4 * time.Second
	stuckTime  = 300 * time.Millisecond

	// recovery is how long an idle victim may take to free memory, or to answer a call.
	recovery = 10 * time.Second

	// In MiB.
	defaultHeld = 32
	defaultLeft = 16

	// garbage is the memory in MiB that the victim may use besides twice the live heap:
	// that of the program itself, stacks, and memory that the runtime hasn't returned.
	garbage = 256
)

// attack is an attack on a process that serves others at the same time.
type attack struct {
	name     string
	target   target
	sessions int   // that the attacker opens
	sockets  int   // WebSockets without a session that the attacker opens
	held     int64 // MiB by which the live heap may grow while the attacker stays; default: defaultHeld
	left     int64 // the same when it has gone; default: defaultLeft
	run      func(*attacker) error
	then     func(*attacker) error // a demand of an honest client, checked before the attacker leaves; may be nil
}

// attacker is a peer that has opened its sessions and WebSockets.
type attacker struct {
	*peer
	victim   *victim
	sessions []*wsmux.Session
	sockets  []webSocket
}

// TestAttacks runs the attacks on processes that serve others at the same time.
func TestAttacks(t *testing.T) {
	p := build(t)
	for _, a := range slices.Concat(headerAttacks, messageAttacks, floods, connectionAttacks, lyingUpstreams) {
		t.Run(a.name, func(t *testing.T) {
			if a.held == 0 {
				t.Parallel()
			}
			a.test(t, p)
		})
	}
}

// test runs the attack and checks that it had no lasting effect.
func (a *attack) test(t *testing.T, p program) {
	t.Helper()
	maxHeld, maxLeft := cmp.Or(a.held, defaultHeld), cmp.Or(a.left, defaultLeft)
	enemy := &attacker{peer: newPeer(t)}
	v, call := a.target(t, p, func(v *victim) { enemy.connect(t, v, a.sessions, a.sockets) })
	if err := call(t.Context()); err != nil {
		t.Fatal("innocent call before the attack: ", err)
	}
	before := mustHeap(t, v)
	innocent := startInnocent(call)
	over := make(chan error, 1)
	start := time.Now()
	go func() { over <- a.run(enemy) }()
	ended := enemy.await(over)
	took := time.Since(start)
	if a.then != nil {
		if err := a.then(enemy); err != nil {
			t.Error(err)
		}
	}
	v.settle(attackTime)
	if !innocent.isAnswered(v) { // while the attacker stays
		t.Errorf("no innocent call was answered, though the victim was idle for %v", recovery)
	}
	during, err := v.heapBelow(before + maxHeld*mib) // a slow machine may still handle the attack
	peak := v.peak() / mib
	enemy.close()
	if runErr := <-over; runErr != nil && ended {
		t.Logf("the attacker was stopped: %v", runErr)
	}
	after := during
	if err == nil {
		after, err = v.heapBelow(before + maxLeft*mib)
	}
	median, callErr := innocent.stop()
	if callErr != nil {
		t.Error(callErr)
	}
	if err != nil {
		<-v.exited
		t.Fatalf("it died: %v; peak %d MiB", v.cmd.ProcessState, v.peak()/mib)
	}
	held, left := (during-before)/mib, (after-before)/mib
	t.Logf("sent %.1f MB in %.1f s; peak %d MiB, live heap +%d MiB, afterwards +%d MiB; %d innocent calls, median %v",
		float64(enemy.sent.Load())/1e6, took.Seconds(), peak, held, left, len(innocent.took), median.Round(10*time.Microsecond))
	if held > maxHeld {
		t.Errorf("during the attack the live heap was %d MiB more, want at most %d", held, maxHeld)
	}
	if most := garbage + 2*maxHeld; peak > most {
		t.Errorf("the peak was %d MiB, want at most %d", peak, most)
	}
	if left > maxLeft {
		t.Errorf("after the attack the live heap is %d MiB more, want at most %d", left, maxLeft)
	}
	if err := v.stop(); err != nil {
		t.Error(err)
	}
}

// await waits until the attack is over or makes no progress. It reports whether the
// attack is over; its result stays in over.
func (a *attacker) await(over chan error) bool {
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	sent, cpu, stuck := a.sent.Load(), a.victim.cpu(), time.Duration(0)
	for deadline := time.Now().Add(attackTime); time.Now().Before(deadline) && stuck < stuckTime; {
		select {
		case err := <-over:
			over <- err
			return true
		case <-tick.C:
		}
		stuck += idleInterval
		nowSent, nowCPU := a.sent.Load(), a.victim.cpu()
		if nowSent != sent || nowCPU-cpu > idleCPU {
			stuck = 0
		}
		sent, cpu = nowSent, nowCPU
	}
	return false
}

func mustHeap(t *testing.T, v *victim) int64 {
	t.Helper()
	heap, err := v.heap()
	if err != nil {
		t.Fatal(err)
	}
	return heap
}

// heapBelow waits until the live heap is at most limit, as long as the victim may take, and
// returns it.
func (v *victim) heapBelow(limit int64) (heap int64, err error) {
	next, pause := time.Now(), idleInterval
	isBelow := v.await(recovery, func() bool {
		if time.Now().Before(next) {
			return false
		}
		heap, err = v.heap()
		pause *= 2 // collecting garbage keeps the victim busy
		next = time.Now().Add(pause)
		return err != nil || heap <= limit
	})
	if !isBelow { // the last look is old
		return v.heap()
	}
	return heap, err
}

// connect opens the attacker's sessions and WebSockets to v.
func (a *attacker) connect(t *testing.T, v *victim, sessions, sockets int) {
	t.Helper()
	a.victim = v
	role := wsmux.Client
	if v.dials() {
		role = wsmux.Server
	}
	for range sessions {
		s, err := a.dialSession(v.url(), role)
		if err != nil {
			t.Fatal(err)
		}
		a.sessions = append(a.sessions, s)
	}
	for range sockets {
		ws, err := a.dialWebSocket(v.url())
		if err != nil {
			t.Fatal(err)
		}
		a.sockets = append(a.sockets, ws)
	}
	v.awaitSessions(t, sessions+sockets)
}

// openHTTP2 starts an HTTP/2 connection on a stream of session i.
func (a *attacker) openHTTP2(i int, settings ...http2.Setting) (*http2Conn, error) {
	stream, err := a.sessions[i].Open(context.Background())
	if err != nil {
		return nil, err
	}
	return newHTTP2Client(stream, settings...)
}

// dialHTTP2 starts an HTTP/2 connection to the victim's local listener.
func (a *attacker) dialHTTP2(settings ...http2.Setting) (*http2Conn, error) {
	conn, err := a.dial(a.victim.addrs[0])
	if err != nil {
		return nil, err
	}
	return newHTTP2Client(conn, settings...)
}
