package tunnel

import "slices"

// Subscriber has the functions that a [Sessions] set calls. Nil functions aren't
// called.
//
// For each session, the set calls Up once, and, after Up has returned and the session
// has ended, Down once with the reason. Calls for different sessions may overlap. Both
// functions block the set: a new session gets its first stream only after every Up has
// returned, and a Connector dials again only after every Down of a session that has ended
// has. Both may call all methods of the set except Shutdown, which waits for them, and stop
// functions.
type Subscriber struct {
	Up   func(*Session)
	Down func(s *Session, reason error)
}

// subscription is one call of Subscribe.
type subscription struct {
	Subscriber
	up map[*Session]bool // sessions with a call of Up but none of Down; guarded by Sessions.mu; nil once stopped
}

// Subscribe calls sub.Up for each session that is up, and later for each new one. It
// returns after the former calls. After stop has returned, no call begins, not even
// Down for a session that is up. stop doesn't wait for calls that have begun.
func (ss *Sessions) Subscribe(sub Subscriber) (stop func()) {
	n := &subscription{sub, map[*Session]bool{}}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.subscriptions = append(ss.subscriptions, n)
	for _, s := range slices.Clone(ss.live) {
		if s.Err() == nil { // otherwise callDowns may already have run, during an earlier callUp
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

// Snapshot returns the sessions that haven't ended, oldest first. These include
// sessions that get no new streams, because they were replaced or the peer is going
// away.
func (ss *Sessions) Snapshot() []*Session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return slices.Clone(ss.live)
}

// callUps calls Up of every subscriber, including those that subscribe during callUps:
// s isn't in ss.live yet, so Subscribe doesn't call their Up. The caller holds ss.mu,
// which is released during the calls.
func (ss *Sessions) callUps(s *Session) {
	isNew := func(n *subscription) bool { return !n.up[s] }
	for i := slices.IndexFunc(ss.subscriptions, isNew); i >= 0; i = slices.IndexFunc(ss.subscriptions, isNew) {
		ss.callUp(ss.subscriptions[i], s)
	}
}

// callUp calls n.Up. The caller holds ss.mu, which is released during the call.
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

// callDowns calls Down of every subscriber whose Up was called, after these calls have
// returned. s is no longer in ss.live, so no further call of Up begins.
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
