package tunnel

import "slices"

// Subscriber has the functions that a [Sessions] set calls. One that is nil is
// not called.
//
// For each session the set calls Up once, and then, after Up has returned, Down
// once with the reason of the session's end. Calls for different sessions may
// run at the same time. Both block: a new session gets its first stream when
// each Up has returned, and a Connector dials again when each Down has. Both
// may call any method of the set except Shutdown, which waits for them, and
// the stop function of any subscription.
type Subscriber struct {
	Up   func(*Session)
	Down func(s *Session, reason error)
}

// subscription is one call of Subscribe.
type subscription struct {
	Subscriber
	up map[*Session]bool // Up was called, Down wasn't; guarded by Sessions.mu; nil once stopped
}

// Subscribe calls sub.Up for each session that Snapshot would return, before it
// returns, and from then on for each new one. Once stop has returned, no call
// begins, not even Down for a session that is up. stop doesn't wait for calls
// that have begun.
func (ss *Sessions) Subscribe(sub Subscriber) (stop func()) {
	n := &subscription{sub, map[*Session]bool{}}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.subscriptions = append(ss.subscriptions, n)
	for _, s := range slices.Clone(ss.live) {
		if s.Err() == nil { // else its Downs may have been called during an earlier Up
			ss.callUp(n, s)
		}
	}
	return func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		ss.subscriptions = slices.DeleteFunc(ss.subscriptions, func(o *subscription) bool { return o == n })
		n.up = nil
	}
}

// Snapshot returns the sessions that haven't ended, oldest first. It includes
// those that take no new streams, because another session has replaced them or
// the peer is going away.
func (ss *Sessions) Snapshot() []*Session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return slices.Clone(ss.live)
}

// callUps calls Up of every subscriber, including those that subscribe
// meanwhile: s isn't in ss.live yet, so Subscribe doesn't. ss.mu is held, but not
// during the calls.
func (ss *Sessions) callUps(s *Session) {
	isNew := func(n *subscription) bool { return !n.up[s] }
	for i := slices.IndexFunc(ss.subscriptions, isNew); i >= 0; i = slices.IndexFunc(ss.subscriptions, isNew) {
		ss.callUp(ss.subscriptions[i], s)
	}
}

// callUp calls n.Up. ss.mu is held, but not during the call.
func (ss *Sessions) callUp(n *subscription, s *Session) {
	n.up[s] = true
	if n.Up == nil {
		return
	}
	s.ups.Add(1)
	ss.mu.Unlock()
	defer ss.mu.Lock()
	defer s.ups.Done()
	n.Up(s)
}

// callDowns calls Down of every subscriber whose Up was called. s is no longer
// in ss.live, so that no further Up begins.
func (ss *Sessions) callDowns(s *Session, reason error) {
	s.ups.Wait()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, n := range slices.Clone(ss.subscriptions) {
		if !n.up[s] {
			continue // subscribed after the end of s, or stopped
		}
		delete(n.up, s)
		if n.Down != nil {
			ss.mu.Unlock()
			n.Down(s, reason)
			ss.mu.Lock()
		}
	}
}
