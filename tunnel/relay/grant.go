package relay

import (
	"cmp"
	"context"
	"net/http"
)

// Grant is the right to use a name. The zero value has no limits.
type Grant struct {
	// Subject names the sender, for the Records and for MaxSessions. Default: none.
	Subject string

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

const revoked = "the right to this name was withdrawn"

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
	if s.grant.Check != nil && s.grant.Check() != nil {
		r.end(s, CloseRevoked, revoked)
	}
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
