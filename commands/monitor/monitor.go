// Package monitor knows the state of a running wstun: its sessions and why they ended, its
// failed dials, and its calls.
//
//	m := monitor.New(monitor.Info{Command: "dial", Version: version})
//	m.Calls, m.Ended = forwarder.Calls, forwarder.Ended // before anybody asks
//	m.Up(monitor.Session(s))
//	…
//	status := m.Status()
//
// Nothing is measured while nobody asks: a [Status] is collected when it is wanted. All
// methods may be called from any goroutine.
package monitor

import (
	"crypto/rand"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/trace"
)

// Info describes the process. It doesn't change.
type Info struct {
	PID     int       `json:"pid"`
	Boot    string    `json:"boot"`    // different for each process
	Command string    `json:"command"` // such as "dial"
	Version string    `json:"version"` // of wstun
	Started time.Time `json:"started"`
}

// keptEnded is how many sessions that have ended are remembered.
const keptEnded = 20

// Monitor collects the state of a process. Use New.
type Monitor struct {
	Info Info

	// Accepting says that the process accepts sessions, and so is ready without one.
	Accepting bool

	// Calls returns the open calls, Ended how many have ended, by status, Upstreams which
	// upstreams are up, Lost the losses of the trace, and OwnExpires when the process's own
	// certificate expires. They must be set before the first question. Default: there are
	// none.
	//
	// Relay has the sessions of a relay, in place of Up and Down.
	Relay      *relay.Relay
	Calls      func() []rpc.Call
	Ended      *rpc.Counts
	Upstreams  func() []Upstream
	Lost       func() trace.Losses
	OwnExpires func() time.Time

	mu        sync.Mutex
	addresses []string // where it listens
	target    string   // where calls go, or the sessions; empty until the process is usable
	sessions  []*Link  // that haven't ended, oldest first
	ended     []Session
	sum       totals // of ended sessions
	retry     *Retry // nil: a session is up, or none has been tried
	lastClose int
	reasons   [numReasons]counts
	bound     bool // it accepts
	draining  bool
	changed   chan struct{} // closed at the next change; nil until Changed needs it
}

// counts counts events by their reason.
type counts struct{ ends, retries uint64 }

// totals are sums over sessions.
type totals struct {
	sessions         uint64
	opened, accepted int64 // streams
	bytes            Bytes
}

// New returns a Monitor of this process. It sets PID, Boot and Started.
func New(info Info) *Monitor {
	info.PID, info.Boot, info.Started = os.Getpid(), rand.Text(), time.Now()
	return &Monitor{Info: info}
}

// Listening adds an address or a URL at which the process listens.
func (m *Monitor) Listening(address string) {
	m.change(func() { m.addresses = append(m.addresses, address) })
}

// SetUsable says that the process has become usable, and where sessions or calls lead. A
// process that dials isn't ready before: its ready file must be there then.
func (m *Monitor) SetUsable(target string) { m.change(func() { m.target = target }) }

// SetBound says that WebSockets are accepted now, and the ready file is there.
func (m *Monitor) SetBound() { m.change(func() { m.bound = true }) }

// SetDraining says that the process is about to end.
func (m *Monitor) SetDraining() { m.change(func() { m.draining = true }) }

// Up adds a session.
func (m *Monitor) Up(l *Link) {
	m.change(func() {
		m.sessions, m.retry = append(m.sessions, l), nil
		m.sum.sessions++
	})
}

// Down removes the session with this ID, because of reason, which is text for users. code
// is the status code of its Close frame; 0: there was none.
func (m *Monitor) Down(id uint64, cause Reason, reason string, code int) {
	m.change(func() {
		i := slices.IndexFunc(m.sessions, func(l *Link) bool { return l.ID == id })
		if i < 0 {
			return
		}
		s := m.sessions[i].session()
		m.sessions = slices.Delete(m.sessions, i, i+1)
		m.end(&s, cause, reason, code)
		m.sum.bytes.In += s.Bytes.In
		m.sum.bytes.Out += s.Bytes.Out
		m.sum.opened += s.opened
		m.sum.accepted += s.accepted
	})
}

// end records that s has ended. The caller holds m.mu.
func (m *Monitor) end(s *Session, cause Reason, reason string, code int) {
	now := time.Now()
	s.State, s.Ended, s.Reason, s.Cause, s.CloseCode, s.Streams = "down", &now, reason, cause.String(), code, 0
	if len(m.ended) == keptEnded {
		m.ended = slices.Delete(m.ended, 0, 1)
	}
	m.ended = append(m.ended, *s)
	m.reasons[cause].ends++
	if code != 0 {
		m.lastClose = code
	}
}

// Retrying says that the process waits before it dials again.
func (m *Monitor) Retrying(in time.Duration, cause Reason, reason string) {
	m.change(func() {
		m.reasons[cause].retries++
		m.retry = &Retry{At: time.Now().Add(in), Reason: reason, Cause: cause.String()}
	})
}

// change calls f with m.mu held, and wakes the callers of Changed.
func (m *Monitor) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// Changed returns a channel that is closed when a session or another part of the state
// changes; not for calls and statistics.
func (m *Monitor) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}
