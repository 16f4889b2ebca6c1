package relay

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// worker is one instance of a Worker. It has several sessions while it replaces one by the
// next. Relay.mu guards it.
type worker struct {
	name      string
	instance  string
	since     time.Time             // see Instance
	sessions  []*session            // live ones, oldest first
	engineers map[*session]struct{} // whose streams go to this instance
	claims    int                   // to the name
	release   func()                // withdraws the last claim; nil: none
}

// current returns the newest session that gets new streams, or nil. The caller holds
// Relay.mu.
func (w *worker) current() *session {
	for _, s := range slices.Backward(w.sessions) {
		if !s.leaving {
			return s
		}
	}
	return nil
}

// probeTimeout is how long the older session of an instance may take to answer a Ping.
const probeTimeout = 5 * time.Second

// The texts of Close frames.
const (
	gone       = "the worker has gone"
	replaced   = "another instance has this name"
	restarting = "the relay is shutting down"
)

// admitWorker returns why the Worker of s is refused, or nil.
func (r *Relay) admitWorker(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return unavailable("this relay is shutting down")
	}
	if w := r.names[s.name]; r.opts.KeepFirst && w != nil && !w.is(s.instance) {
		return refuse(http.StatusConflict, "%s: another instance has this name", s.name)
	}
	return nil
}

// is reports whether w is the instance, which is unknown if it is "".
func (w *worker) is(instance string) bool {
	return instance != "" && instance == w.instance
}

// arrive adds the session of a Worker. It replaces an earlier instance of that, and returns false
// if it is the earlier one itself.
func (r *Relay) arrive(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining { // admitted before
		s.AnnounceGoAway()
	}
	w := r.names[s.name]
	if w != nil && w.is(s.instance) {
		for _, old := range w.sessions {
			go r.probe(old)
		}
		s.worker = w
		w.sessions = append(w.sessions, s)
		w.since = s.since
		r.claim(w, s)
		return true
	}
	if w != nil && cmp.Or(w.since.Compare(s.since), strings.Compare(w.instance, s.instance)) > 0 {
		return false
	}
	if w != nil {
		r.unlist(w)
		r.replace(w)
		r.totals.Takeovers++
	}
	w = &worker{name: s.name, instance: s.instance, since: s.since, sessions: []*session{s}, engineers: map[*session]struct{}{}}
	s.worker = w
	r.names[s.name] = w
	r.claim(w, s)
	if a := r.arrivals[s.name]; a != nil {
		delete(r.arrivals, s.name)
		close(a.arrived)
	}
	return true
}

// claim claims the name for w, whose newest session is s. The caller holds r.mu.
func (r *Relay) claim(w *worker, s *session) {
	if r.opts.Directory == nil {
		return
	}
	w.claims++
	n, old := w.claims, w.release
	w.release = r.opts.Directory.Claim(w.name, Instance{w.instance, s.seq, s.since}, func(instance string) { r.yield(w, n, instance) })
	if old != nil {
		old()
	}
}

// probe ends an older session of an instance whose peer doesn't answer: the instance has
// dialed again because the connection broke.
func (r *Relay) probe(s *session) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), probeTimeout, netdiag.TimeoutError(probeTimeout))
	defer cancel()
	if _, err := s.Ping(ctx); err != nil {
		s.CloseWithError(err)
	}
}

// replace ends the sessions of w and of its engineers: another instance has its name. The
// caller holds r.mu.
func (r *Relay) replace(w *worker) {
	for _, s := range w.sessions {
		s.leaving = true
		r.end(s, CloseReplaced, replaced)
	}
	r.dismiss(w)
}

// dismiss ends the sessions of the engineers of w, which has gone. The caller holds r.mu.
func (r *Relay) dismiss(w *worker) {
	if r.closed { // Close ends them
		return
	}
	for e := range w.engineers {
		go e.dismiss()
	}
}

// yield gives up the name of w, which it has claimed n times, because another relay has
// claimed it: for the same instance, which ends its session here, or for another one.
func (r *Relay) yield(w *worker, n int, instance string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[w.name] != w || w.claims != n {
		return
	}
	r.unlist(w)
	if w.is(instance) {
		for _, s := range w.sessions { // if it still uses one, it dials again
			s.AnnounceGoAway()
		}
		r.move(w)
	} else {
		r.replace(w)
		r.totals.Takeovers++
	}
}

// unlist makes w unknown to handshakes. The caller holds r.mu.
func (r *Relay) unlist(w *worker) {
	if r.names[w.name] != w {
		return
	}
	delete(r.names, w.name)
	if w.release != nil {
		w.release()
	}
}

// move tells the engineers of w, which is moving or going away, to dial again. The caller
// holds r.mu.
func (r *Relay) move(w *worker) {
	for e := range w.engineers {
		e.AnnounceGoAway()
	}
}

// leave records that the Worker of s takes no new streams on it.
func (r *Relay) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.leaving = true
	if s.worker.current() == nil {
		r.unlist(s.worker)
		r.move(s.worker)
	}
}

// depart removes the session of a Worker, which has ended.
func (r *Relay) depart(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.leaving = true
	w := s.worker
	if w.current() == nil {
		r.unlist(w)
	}
	w.sessions = slices.DeleteFunc(w.sessions, func(o *session) bool { return o == s })
	if len(w.sessions) == 0 {
		r.dismiss(w)
	}
}

// enter adds an engineer to its Worker. If that has gone since the handshake, it ends the
// engineer's session.
func (r *Relay) enter(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch w := s.worker; {
	case len(w.sessions) == 0:
		go s.dismiss()
	case w.current() == nil:
		s.AnnounceGoAway()
		fallthrough
	default:
		w.engineers[s] = struct{}{}
	}
}

// part removes an engineer from its Worker.
func (r *Relay) part(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(s.worker.engineers, s)
}
