package monitor

import (
	"cmp"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/relay"
)

// roleName returns the name of a role for users.
func roleName(role relay.Role) string {
	if role == relay.Serve {
		return "serve"
	}
	return "dial"
}

// relayed returns the sessions of a relay, the oldest first. Their bytes are those that the
// relay has received from the peer and sent to it.
func (m *Monitor) relayed() []Session {
	if m.Relay == nil {
		return nil
	}
	all := m.Relay.Snapshot().Sessions
	streams := map[uint64]int{} // of Workers
	for i := range all {
		for _, st := range all[i].Streams {
			streams[st.Worker]++
		}
	}
	sessions := make([]Session, 0, len(all))
	for i := range all {
		st := &all[i]
		s := Session{
			ID: st.ID, Remote: st.Remote, Role: roleName(st.Role), Name: st.Name, Subject: st.Subject, State: "up", Since: st.Since,
			RoundTrip: milliseconds(st.Pong), Streams: len(st.Streams), Bytes: peerBytes(st.Role, st.Up, st.Down),
		}
		if st.Role == relay.Serve {
			s.Streams = streams[st.ID]
		}
		if st.Leaving {
			s.State = "draining"
		}
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return sessions
}

// peerBytes returns the bytes of a session with a peer. up are those to the Worker.
func peerBytes(role relay.Role, up, down int64) Bytes {
	if role == relay.Serve {
		return Bytes{In: down, Out: up}
	}
	return Bytes{In: up, Out: down}
}

// RelayEnded records the end of a session of a relay. Other Records have no effect.
func (m *Monitor) RelayEnded(rec *relay.Record) {
	if rec.Kind != "session" {
		return
	}
	cause, code := ReasonOf(rec.Err)
	switch code { // those that a relay itself sends
	case relay.CloseReplaced:
		cause, code = Replaced, 0
	case relay.CloseExpired, relay.CloseRevoked, relay.CloseGone, websocket.CloseServiceRestart:
		cause, code = Local, 0
	}
	m.change(func() {
		m.end(&Session{
			ID: rec.Session, Remote: rec.Remote, Role: roleName(rec.Role), Name: rec.Name, Subject: rec.Subject, Since: rec.Begin,
			Bytes: peerBytes(rec.Role, rec.Up, rec.Down),
		}, cause, rec.Reason, code)
	})
}

// addRelay adds the figures of a relay.
func (t *Totals) addRelay() {
	r := t.Relay
	if r == nil {
		return
	}
	t.Sessions += r.Now.Workers + r.Now.Engineers
	t.AllSessions += r.Workers + r.Engineers
	t.Streams += r.Now.Streams
	t.Opened += int64(r.Streams)   //nolint:gosec // streams that were opened one by one
	t.Accepted += int64(r.Streams) //nolint:gosec // as above
	t.Bytes.In += r.Up + r.Down
	t.Bytes.Out += r.Up + r.Down
}
