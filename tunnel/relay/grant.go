package relay

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// Grant is the right to use a name. The zero value has no limits.
type Grant struct {
	// Subject names the sender, for the Records and for MaxSessions. Default: none.
	Subject string

	// Rule, KeyID and TokenID name the rule that gives the right, the key that has signed the
	// token, and the token, for the Records. Default: none.
	Rule, KeyID, TokenID string

	// Expires is when the session ends, with CloseExpired. Half a minute before, the peer is
	// told to dial again. The zero value: it doesn't expire.
	Expires time.Time

	// MaxSessions is how many sessions the subject may have at this relay; further
	// handshakes get 429, except those of a Worker that replaces its own session. It has
	// no effect without a Subject. Default: no limit.
	MaxSessions int

	// MaxStreams replaces Options.MaxStreams.
	MaxStreams int

	// Check returns why the Grant isn't valid any more, nil if it is. See Recheck.
	// Default: it stays valid.
	Check func() error
}

const (
	revoked = "the right to this name was withdrawn"
	expired = "the token or certificate has expired; dial again with a new one"
)

// expiryNotice is how long before its end a session gets GoAway, so that the peer can dial
// again with a new token, and its calls can finish.
const expiryNotice = 30 * time.Second

// expire makes s end when its Grant expires, until stopTimers.
func (s *session) expire() {
	if s.grant.Expires.IsZero() {
		return
	}
	left := time.Until(s.grant.Expires)
	s.timers = append(s.timers, time.AfterFunc(left, func() {
		s.CloseWithError(&websocket.CloseError{Code: CloseExpired, Text: expired})
	}))
	if left > expiryNotice { // otherwise, s may be the answer to a GoAway
		s.timers = append(s.timers, time.AfterFunc(left-expiryNotice, s.AnnounceGoAway))
	}
}

func (s *session) stopTimers() {
	for _, t := range s.timers {
		t.Stop()
	}
}

// Recheck ends the sessions whose Grant isn't valid any more, with CloseRevoked. Call it
// after the results of Check have changed.
func (r *Relay) Recheck() {
	r.mu.Lock()
	sessions := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	for _, s := range sessions {
		r.recheck(s)
	}
}

func (r *Relay) recheck(s *session) {
	if s.grant.Check == nil || s.grant.Check() == nil {
		return
	}
	if expires := s.grant.Expires; !expires.IsZero() && !time.Now().Before(expires) {
		r.end(s, CloseExpired, expired)
		return
	}
	r.end(s, CloseRevoked, revoked)
}

// reserve counts s as a session of its subject until the end of its request, or returns a
// refusal.
func (r *Relay) reserve(req *http.Request, s *session) error {
	subject := s.grant.Subject
	if subject == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	replaces := s.role == Serve && r.names[s.name] != nil && r.names[s.name].is(s.instance)
	if most := s.grant.MaxSessions; most > 0 && r.subjects[subject] >= most && !replaces {
		return refuse(http.StatusTooManyRequests, "too many sessions of %s: it may have %d", subject, most)
	}
	r.subjects[subject]++
	context.AfterFunc(req.Context(), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.subjects[subject]--; r.subjects[subject] == 0 {
			delete(r.subjects, subject)
		}
	})
	return nil
}

// maxStreams returns how many streams s may have. most is Options.MaxStreams.
func (s *session) maxStreams(most int) int { return cmp.Or(s.grant.MaxStreams, most) }
