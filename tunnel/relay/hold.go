package relay

import (
	"context"
	"errors"
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

// find returns the Worker with this name, or the URL of the relay that has it. It waits up
// to Options.Hold for that. The error is a *tunnel.RefusalError.
func (r *Relay) find(req *http.Request, name string) (*worker, string, error) {
	w, err := r.local(name)
	if w != nil || err != nil {
		return w, "", err
	}
	if req.Header.Get(ViaHeader) != "" { // the first relay asks again
		return nil, "", refuse(http.StatusMisdirectedRequest, "%s isn't connected to this relay any more", name)
	}
	if r.opts.Hold < 0 && r.opts.Hop == nil {
		return nil, "", absent(name)
	}
	select {
	case r.holds <- struct{}{}:
		defer func() { <-r.holds }()
	default:
		return nil, "", unavailable("%s isn't connected, and too many dials wait for workers", name)
	}
	hold := r.opts.Hold
	if r.opts.Hop != nil {
		hold = max(hold, minLocate)
	}
	ctx, cancel := context.WithTimeout(req.Context(), hold)
	defer cancel()
	return r.await(ctx, name)
}

// await waits until the Worker arrives here or is at another relay.
func (r *Relay) await(ctx context.Context, name string) (*worker, string, error) {
	arrived, stop := r.expect(name)
	defer stop()
	type location struct {
		url string
		err error
	}
	located := make(chan location, 1)
	if r.opts.Directory != nil && r.opts.Hop != nil {
		go func() { // ends with ctx
			url, err := r.opts.Directory.Locate(ctx, name)
			located <- location{url, err}
		}()
	}
	if w, err := r.local(name); w != nil || err != nil { // it may have arrived before expect
		return w, "", err
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
		if ctx.Err() == nil {
			return nil, "", unavailable("%s isn't connected to this relay, and the directory fails: %w", name, l.err)
		}
	case <-ctx.Done():
	}
	return nil, "", absent(name) // or it has gone again
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
	for name, values := range refusal.Header {
		if header == nil {
			header = http.Header{}
		}
		header[name] = values
	}
	refusal.Header = header
	return &refusal
}

func (s *session) refusedRecord(refusal *tunnel.RefusalError) Record {
	rec := s.newRecord("refusal")
	rec.Code, rec.Reason = refusal.Code, refusal.Error()
	return rec
}
