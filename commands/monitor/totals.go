package monitor

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/trace"
)

// Totals are the figures of a process since its start, for metrics. Unlike a Status, their size
// doesn't depend on peers.
type Totals struct {
	Info        Info
	Ready       bool
	Sessions    int // that are up
	AllSessions uint64
	Ends        map[Reason]uint64
	Retries     map[Reason]uint64
	LastClose   int // the status code of the last Close frame of a peer

	Streams          int   // that are open
	Opened, Accepted int64 // by wstun, by peers
	Bytes            Bytes

	OpenCalls int
	RPCs      map[codes.Code]uint64 // see rpc.Counts

	LeastRoundTrip, MostRoundTrip time.Duration // of the sessions' last Pings; 0: none
	OwnExpires, PeerExpires       time.Time     // certificates; zero: none

	Upstreams []Upstream
	Lost      trace.Losses

	Relay *relay.Totals // nil: it isn't a relay
}

// Totals returns the figures now.
func (m *Monitor) Totals() *Totals {
	t := &Totals{Info: m.Info, Ends: map[Reason]uint64{}, Retries: map[Reason]uint64{}, RPCs: map[codes.Code]uint64{}}
	if m.Calls != nil {
		t.OpenCalls = len(m.Calls())
	}
	if m.Ended != nil {
		t.RPCs = m.Ended.Load()
	}
	if m.Upstreams != nil {
		t.Upstreams = m.Upstreams()
	}
	if m.Lost != nil {
		t.Lost = m.Lost()
	}
	if m.OwnExpires != nil {
		t.OwnExpires = m.OwnExpires()
	}
	if m.Relay != nil {
		totals := m.Relay.Totals()
		t.Relay = &totals
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, t.Ready = m.state()
	t.Sessions, t.AllSessions, t.LastClose = len(m.sessions), m.sum.sessions, m.lastClose
	t.Bytes, t.Opened, t.Accepted = m.sum.bytes, m.sum.opened, m.sum.accepted
	for _, l := range m.sessions {
		t.add(l.Stats())
	}
	t.addRelay()
	for r := range numReasons {
		t.Ends[r], t.Retries[r] = m.reasons[r].ends, m.reasons[r].retries
	}
	return t
}

// add adds the statistics of a session that is up.
func (t *Totals) add(st Stats) {
	t.Streams += st.Streams
	t.Bytes.In += st.Bytes.In
	t.Bytes.Out += st.Bytes.Out
	t.Opened += st.Opened
	t.Accepted += st.Accepted
	if rtt := st.RoundTrip; rtt > 0 {
		if t.LeastRoundTrip == 0 || rtt < t.LeastRoundTrip {
			t.LeastRoundTrip = rtt
		}
		t.MostRoundTrip = max(t.MostRoundTrip, rtt)
	}
	if at := st.PeerExpires; !at.IsZero() && (t.PeerExpires.IsZero() || at.Before(t.PeerExpires)) {
		t.PeerExpires = at
	}
}
