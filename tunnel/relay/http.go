package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel"
)

// WorkerInfo is a Worker in JSON.
type WorkerInfo struct {
	Name  string    `json:"name"`
	Relay string    `json:"relay,omitempty"` // the ID of the relay that has it, if that is known
	Since time.Time `json:"since,omitzero"`  // when its oldest session began; zero: unknown
}

// Handler answers the requests that aren't handshakes:
//
//	GET <base>/v1/worker/NAME           200 and a WorkerInfo, or 404
//	GET <base>/v1/workers[?prefix=P][&limit=N]
//	                                    200 and a List: the Workers at all relays
//	DELETE <base>/v1/hop/SECRET         see HopHeader
//	GET /healthz                        200
//	GET /readyz                         200, or 503 while draining
//
// A sender learns only of Workers that it may dial. guard, which may be nil, protects all but
// the last two: a load balancer may check these without a Host.
func (r *Relay) Handler(guard *tunnel.Guard) http.Handler {
	if guard == nil {
		guard = &tunnel.Guard{}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", r.readyz)
	mux.Handle("/", guard.Handler(http.HandlerFunc(r.lookup)))
	return mux
}

func (r *Relay) readyz(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	draining := r.draining
	r.mu.Unlock()
	if draining {
		answerText(w, http.StatusServiceUnavailable, "draining")
		return
	}
	answerText(w, http.StatusOK, "ok")
}

func (r *Relay) lookup(w http.ResponseWriter, req *http.Request) {
	var answer any
	req, err := r.identify(req)
	secret, isHop := strings.CutPrefix(req.URL.EscapedPath(), r.opts.Base+hopPath)
	switch {
	case err != nil:
	case isHop && req.Method == http.MethodDelete:
		r.endHop(w, secret)
		return
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		err = refuse(http.StatusMethodNotAllowed, "want GET")
	case req.URL.EscapedPath() == r.opts.Base+workersPath:
		answer, err = r.list(req)
	default:
		answer, err = r.info(req)
	}
	if err != nil {
		refusal := r.refusal(err)
		for name, values := range refusal.Header {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		answerText(w, refusal.Code, "wstun: "+refusal.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer)
}

func answerText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) //nolint:gosec // browsers take it for plain text
}

// mayDial returns why the sender may not dial the Worker, or nil.
func (r *Relay) mayDial(req *http.Request, name string) error {
	if r.opts.Authorize == nil {
		return nil
	}
	_, err := r.opts.Authorize(req, Dial, name)
	return err
}

func (r *Relay) info(req *http.Request) (any, error) {
	name, err := parsePath(req.URL.EscapedPath(), r.opts.Base)
	if err == nil {
		err = r.mayDial(req, name)
	}
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	w := r.names[name]
	if w != nil {
		info := r.describe(w)
		r.mu.Unlock()
		return info, nil
	}
	r.mu.Unlock()
	if r.opts.Directory == nil {
		return nil, absent(name)
	}
	select {
	case r.holds <- struct{}{}:
		defer func() { <-r.holds }()
	default:
		return nil, unavailable("%s isn't connected to this relay, and too many requests wait for workers", name)
	}
	ctx, cancel := context.WithTimeout(req.Context(), minLocate)
	defer cancel()
	if _, err := r.opts.Directory.Locate(ctx, name); err != nil {
		if ctx.Err() == nil {
			return nil, unavailable("%s isn't connected to this relay, and the directory fails: %w", name, err)
		}
		return nil, absent(name)
	}
	return WorkerInfo{Name: name}, nil
}

// describe returns the WorkerInfo of w. The caller holds r.mu.
func (r *Relay) describe(w *worker) WorkerInfo {
	return WorkerInfo{Name: w.name, Relay: r.opts.ID, Since: w.sessions[0].begin.UTC()}
}
