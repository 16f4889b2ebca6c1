package relay

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/wstun/wstun/tunnel"
)

// minLocate is how long a lookup in the directory may take at least.
const minLocate = time.Second

// arrival is the arrival of a Worker for which handshakes wait. Relay.mu guards it.
type arrival struct {
	arrived chan struct{} // closed when the Worker has arrived, or Drain begins
	waiting int
}

// reach returns the response to the handshake of an engineer: that of this relay if it has
// the Worker, or that of the relay that has it. It waits up to Options.Hold for the Worker.
func (r *Relay) reach(req *http.Request, s *session) (*tunnel.Upgrade, error) {
	w, err := r.local(s.name)
	switch {
	case err != nil:
		return nil, err
	case w != nil:
		return r.join(s, w), nil
	case req.Header.Get(ViaHeader) != "": // from anybody: it grants nothing, and the first relay asks again
		return nil, refuse(http.StatusMisdirectedRequest, "%s isn't connected to this relay any more", s.name)
	case r.opts.Hold < 0 && r.opts.Hop == nil:
		return nil, absent(s.name)
	}
	select {
	case r.holds <- struct{}{}:
		defer func() { <-r.holds }()
	default:
		return nil, unavailable("%s isn't connected, and too many dials wait for workers", s.name)
	}
	hold := r.opts.Hold
	if r.opts.Hop != nil {
		hold = max(hold, minLocate)
	}
	ctx, cancel := context.WithTimeout(req.Context(), hold)
	defer cancel()
	var stale error // the result of the last hop
	for {
		w, url, err := r.await(ctx, s.name)
		switch {
		case ctx.Err() != nil && stale != nil:
			return nil, stale
		case err != nil:
			return nil, err
		case w != nil:
			return r.join(s, w), nil
		}
		up, err := r.hop(req, s, url)
		m, ok := errors.AsType[misdirected](err)
		if !ok {
			if err == nil {
				r.count(func(t *Totals) { t.Hops++ })
			}
			return up, err
		}
		stale = m.error
		if sleep(ctx, askAgain); ctx.Err() != nil {
			return nil, stale
		}
	}
}

func (r *Relay) join(s *session, w *worker) *tunnel.Upgrade {
	s.worker = w
	return r.upgrade(s, r.serveEngineer)
}

// await waits until the Worker arrives here, or returns the URL of another relay that has it.
func (r *Relay) await(ctx context.Context, name string) (*worker, string, error) {
	arrived, stop := r.expect(name)
	defer stop()
	if w, err := r.local(name); w != nil || err != nil { // it may have arrived before expect
		return w, "", err
	}
	located, done := r.locate(ctx, name), ctx.Done()
	if located != nil {
		done = nil // the directory says whether it has an answer
	}
	select {
	case <-arrived:
		if w, err := r.local(name); w != nil || err != nil {
			return w, "", err
		}
	case l := <-located:
		if l.err == nil {
			return nil, l.url, nil
		}
		if ctx.Err() == nil || !errors.Is(l.err, context.Cause(ctx)) {
			return nil, "", unavailable("%s isn't connected to this relay, and the directory fails: %w", name, l.err)
		}
	case <-done:
	}
	return nil, "", absent(name) // or it has gone again
}

// location is a result of Directory.Locate.
type location struct {
	url string
	err error
}

// locate returns a channel for the result of Directory.Locate, nil without a directory.
func (r *Relay) locate(ctx context.Context, name string) <-chan location {
	if r.opts.Directory == nil || r.opts.Hop == nil {
		return nil
	}
	located := make(chan location, 1)
	go func() { // ends with ctx
		url, err := r.opts.Directory.Locate(ctx, name)
		located <- location{url, err}
	}()
	return located
}

// local returns the Worker that is connected to this relay, or nil. The error says that
// there won't be one.
func (r *Relay) local(name string) (*worker, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.names[name]
	if w == nil && r.draining {
		return nil, unavailable("this relay is shutting down")
	}
	return w, nil
}

// expect returns a channel that is closed when the Worker arrives. stop releases it.
func (r *Relay) expect(name string) (arrived <-chan struct{}, stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.arrivals[name]
	if a == nil {
		a = &arrival{arrived: make(chan struct{})}
		r.arrivals[name] = a
	}
	a.waiting++
	return a.arrived, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if a.waiting--; a.waiting == 0 && r.arrivals[name] == a {
			delete(r.arrivals, name)
		}
	}
}

func absent(name string) error {
	return refuse(http.StatusNotFound, "%s isn't connected", name)
}

// refusal returns err as a refusal: 403 unless it has a status.
func (r *Relay) refusal(err error) *tunnel.RefusalError {
	refusal := tunnel.RefusalError{Code: http.StatusForbidden, Err: err}
	if own, ok := errors.AsType[*tunnel.RefusalError](err); ok {
		refusal = *own
	}
	header := r.header()
	maps.Copy(header, refusal.Header)
	refusal.Header = header
	return &refusal
}

func (s *session) refusedRecord(refusal *tunnel.RefusalError) Record {
	rec := s.newRecord("refusal")
	rec.Code, rec.Reason = refusal.Code, refusal.Error()
	return rec
}
