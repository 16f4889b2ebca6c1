package monitor

import (
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tap"
)

// Link is a session that is up.
type Link struct {
	ID     uint64
	Remote string
	Since  time.Time

	// Stats returns the statistics so far. It must not block.
	Stats func() Stats
}

// Stats are the statistics of a session.
type Stats struct {
	Bytes                     Bytes
	Streams                   int   // that are open
	Opened, Accepted          int64 // streams, by this side and by the peer
	RoundTrip, LeastRoundTrip time.Duration
	Draining                  bool      // the peer accepts no more streams
	PeerExpires               time.Time // the peer's certificate; zero: it has none
}

// Bytes are those of the data on streams, as this process has received and sent them.
type Bytes struct {
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

// Session is a session in JSON.
type Session struct {
	ID        uint64     `json:"id"`
	Remote    string     `json:"remote"`         // the URL dialed, or the peer's address
	Role      string     `json:"role,omitempty"` // at a relay: serve or dial
	Name      string     `json:"name,omitempty"` // of the Worker, at a relay
	Subject   string     `json:"subject,omitempty"`
	State     string     `json:"state"` // up, draining or down
	Since     time.Time  `json:"since"`
	Ended     *time.Time `json:"ended,omitempty"`
	Reason    string     `json:"reason,omitempty"` // why it has ended
	Cause     string     `json:"cause,omitempty"`  // a [Reason]
	CloseCode int        `json:"close_code,omitempty"`

	RoundTrip      float64 `json:"rtt_ms,omitempty"`     // of the last Ping
	LeastRoundTrip float64 `json:"rtt_min_ms,omitempty"` // of the fastest one
	Streams        int     `json:"streams"`
	Open           int     `json:"open"` // calls
	Bytes          Bytes   `json:"bytes"`

	CertificateExpires *time.Time `json:"certificate_expires,omitempty"` // the peer's

	opened, accepted int64
}

// session returns l in JSON, without its calls.
func (l *Link) session() Session {
	st := l.Stats()
	s := Session{
		ID: l.ID, Remote: l.Remote, State: "up", Since: l.Since,
		RoundTrip: milliseconds(st.RoundTrip), LeastRoundTrip: milliseconds(st.LeastRoundTrip),
		Streams: st.Streams, Bytes: st.Bytes, opened: st.Opened, accepted: st.Accepted,
	}
	if st.Draining {
		s.State = "draining"
	}
	if !st.PeerExpires.IsZero() {
		s.CertificateExpires = &st.PeerExpires
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// FromSession returns the Link of a session that wstun dialed or accepted.
func FromSession(s *tunnel.Session) *Link {
	return &Link{ID: s.ID, Remote: s.Remote, Since: s.Since, Stats: func() Stats {
		st := s.Stats()
		return Stats{
			Bytes: Bytes{In: st.BytesReceived, Out: st.BytesSent}, Streams: st.Streams, Opened: st.Opened, Accepted: st.Accepted,
			RoundTrip: st.RoundTrip, LeastRoundTrip: st.LeastRoundTrip, Draining: st.GoingAway || s.IsRetired(),
			PeerExpires: s.PeerCertificateExpires(),
		}
	}}
}

// FromTap returns the Link of a session between two other programs.
func FromTap(s *tap.Session) *Link {
	return &Link{ID: s.ID, Remote: s.Remote, Since: s.Since, Stats: func() Stats {
		in, out := s.Bytes()
		return Stats{Bytes: Bytes{In: in, Out: out}, Streams: s.Streams()}
	}}
}
