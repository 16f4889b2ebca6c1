package monitor

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/rpc"
)

// Status is the state of a process at one moment, in JSON.
type Status struct {
	Info

	Now       time.Time `json:"now"`
	Ready     bool      `json:"ready"`
	State     string    `json:"state"` // ready, waiting (for a session) or draining
	Addresses []string  `json:"addresses"`
	Target    string    `json:"target,omitempty"`
	Retry     *Retry    `json:"retry,omitempty"`

	Sessions  []Session         `json:"sessions"`
	Ended     []Session         `json:"ended"` // the last ones, the newest one last
	Calls     []Call            `json:"calls"` // open ones, the oldest first, at most MaxCalls
	Open      int               `json:"open"`  // calls, all of them
	RPCs      map[string]uint64 `json:"rpcs"`  // how many have ended, by status
	Upstreams []Upstream        `json:"upstreams"`
}

// MaxCalls is how many open calls a Status lists.
const MaxCalls = 1000

// Retry is the wait before the next dial.
type Retry struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Cause  string    `json:"cause"` // a [Reason]
}

// Upstream is a gRPC server that receives the calls.
type Upstream struct {
	Address string `json:"address"`
	Up      bool   `json:"up"`
	Reason  string `json:"reason,omitempty"` // why it isn't
}

// Call is an open call.
type Call struct {
	Method   string     `json:"method"`
	Session  uint64     `json:"session,omitempty"`
	Stream   uint32     `json:"stream,omitempty"`
	Peer     string     `json:"peer,omitempty"`
	Begun    time.Time  `json:"begun"`
	Last     *time.Time `json:"last,omitempty"` // when its latest message passed
	Sent     uint64     `json:"sent"`           // messages, by the client
	Received uint64     `json:"received"`
}

// Status returns the state now.
func (m *Monitor) Status() *Status {
	st := &Status{Info: m.Info, Now: time.Now(), Calls: []Call{}, RPCs: map[string]uint64{}, Upstreams: []Upstream{}}
	var calls []rpc.Call
	if m.Calls != nil {
		calls = m.Calls()
		rpc.Sort(calls)
	}
	open := map[uint64]int{}
	for i := range calls {
		open[calls[i].Session]++
		if i < MaxCalls {
			st.Calls = append(st.Calls, toCall(&calls[i]))
		}
	}
	st.Open = len(calls)
	if m.Ended != nil {
		for code, n := range m.Ended.Load() {
			st.RPCs[CodeName(code)] += n
		}
	}
	if m.Upstreams != nil {
		st.Upstreams = append(st.Upstreams, m.Upstreams()...)
	}
	relayed := m.relayed()
	m.mu.Lock()
	defer m.mu.Unlock()
	st.Addresses, st.Target, st.Retry = append([]string{}, m.addresses...), m.target, m.retry
	st.Sessions, st.Ended = make([]Session, 0, len(m.sessions)), append([]Session{}, m.ended...)
	for _, l := range m.sessions {
		s := l.session()
		s.Open = open[s.ID]
		st.Sessions = append(st.Sessions, s)
	}
	st.Sessions = append(st.Sessions, relayed...)
	st.State, st.Ready = m.state()
	return st
}

// Sessions returns the sessions that are up, and the last ones that have ended.
func (m *Monitor) Sessions() []Session {
	st := m.Status()
	return append(st.Sessions, st.Ended...)
}

// State returns "ready", "waiting" or "draining", and whether it is the first.
func (m *Monitor) State() (state string, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state()
}

// state is State, with m.mu held. A process that accepts is ready before its first
// session: otherwise a load balancer would never let one through.
func (m *Monitor) state() (string, bool) {
	up := func(l *Link) bool { return !l.Stats().Draining }
	switch {
	case m.draining:
		return "draining", false
	case m.Accepting && m.bound, !m.Accepting && m.target != "" && slices.ContainsFunc(m.sessions, up):
		return "ready", true
	}
	return "waiting", false
}

func toCall(c *rpc.Call) Call {
	j := Call{Method: c.Method, Session: c.Session, Stream: c.Stream, Peer: c.Peer, Begun: c.Begun, Sent: c.Sent, Received: c.Received}
	if !c.Last.IsZero() {
		j.Last = &c.Last
	}
	return j
}

// CodeName returns the name of a key of [rpc.Counts.Load].
func CodeName(code codes.Code) string {
	switch code {
	case rpc.Other:
		return "OTHER"
	case rpc.NoStatus:
		return "NO_STATUS"
	}
	return recording.StatusName(code)
}

// Unready says in one line why the process isn't ready; "" if it is.
func (st *Status) Unready() string {
	switch {
	case st.Ready:
		return ""
	case st.State == "draining":
		return "draining"
	case st.Retry != nil:
		return "no session: " + st.Retry.Reason
	}
	return "no session yet"
}

// Codes returns the statuses of ended calls, OK first and then by name.
func (st *Status) Codes() []string {
	return slices.SortedFunc(maps.Keys(st.RPCs), func(a, b string) int {
		ok := func(name string) int {
			if name == "OK" {
				return 0
			}
			return 1
		}
		if d := ok(a) - ok(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}
