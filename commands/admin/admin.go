// Package admin answers questions about a running wstun, by HTTP on a unix socket or a TCP
// port, and asks them.
//
//	GET  /healthz                       the process is alive
//	GET  /readyz[?verbose]              200, or 503 and the reason; see [monitor.Status]
//	GET  /metrics                       for Prometheus
//	GET  /api/v1/status                 a [monitor.Status]
//	GET  /api/v1/sessions               its sessions, and those that have ended
//	GET  /api/v1/events[?messages=0][&filter=TERMS][&redact=GLOB]
//	                                    a live recording, see package recording
//	POST /api/v1/reconnect              makes gRPC clients begin new connections
//	GET  /debug/pprof/…                 see net/http/pprof
//
// The socket is in a folder of the user, where wstun status finds it; see [Sockets].
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"sync/atomic"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel/escape"
)

// Admin answers questions about one process.
type Admin struct {
	// Monitor knows the state of the process. It must be set.
	Monitor *monitor.Monitor

	// Secrets are masked in all answers. Default: none.
	Secrets *escape.Secrets

	// Attach writes a live recording to w until ctx ends or writing fails. An error before
	// the first write is one of the options. Default: there are no events.
	Attach func(ctx context.Context, w io.Writer, o tracing.AttachOptions) error

	// Reconnect makes the gRPC clients whose connections this process carries begin new
	// ones for their next calls. Default: that isn't possible.
	Reconnect func()

	// Page serves all other paths. Default: they are answered with 404.
	Page http.Handler

	streams atomic.Int64 // endless responses
}

// openCallsHeader says how many calls the events lack, because they have begun before.
const openCallsHeader = "Wstun-Open-Calls"

// maxStreams is how many endless responses there are at a time.
const maxStreams = 16

// OpenPaths are the paths that need no token, and, for checks by IP address, no known Host.
var OpenPaths = []string{"/healthz", "/readyz", "/metrics"}

// Handler returns the handler of all paths. Without pprof, /debug/ is left out.
func (a *Admin) Handler(withPprof bool) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", a.metrics())
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { a.answerJSON(w, a.Monitor.Status()) })
	mux.HandleFunc("GET /api/v1/sessions", a.sessions)
	mux.HandleFunc("GET /api/v1/events", a.events)
	mux.HandleFunc("POST /api/v1/reconnect", a.reconnect)
	if a.Page != nil {
		mux.Handle("/", a.Page)
	} else {
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			answerText(w, http.StatusNotFound, "wstun "+a.Monitor.Info.Command+": no page here: start it with --admin-messages, or open one with wstun inspect --attach\n")
		})
	}
	if withPprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "wstun: the command line may have secrets", http.StatusForbidden)
		})
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// readyz answers whether a load balancer may send clients here. Upstreams don't count: they
// would take all replicas away at the same time.
func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	st := a.Monitor.Status()
	code, text := http.StatusOK, "ok\n"
	if !st.Ready {
		code, text = http.StatusServiceUnavailable, st.Unready()+"\n"
	}
	if r.URL.Query().Has("verbose") {
		text += fmt.Sprintf("sessions: %d\nopen calls: %d\n", len(st.Sessions), st.Open)
		for _, u := range st.Upstreams {
			if u.Up {
				text += fmt.Sprintf("upstream %s: up\n", u.Address)
			} else {
				text += fmt.Sprintf("upstream %s: down: %s\n", u.Address, u.Reason)
			}
		}
	} else if !st.Ready && st.Retry != nil {
		text = "no session\n" // the reason may name hosts
	}
	answerText(w, code, a.mask(text))
}

func (a *Admin) sessions(w http.ResponseWriter, _ *http.Request) {
	st := a.Monitor.Status()
	a.answerJSON(w, map[string][]monitor.Session{"sessions": st.Sessions, "ended": st.Ended})
}

// events streams a live recording.
func (a *Admin) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o := tracing.AttachOptions{Messages: q.Get("messages") != "0", Filter: q["filter"], Redact: q["redact"]}
	switch {
	case a.Attach == nil:
		http.Error(w, "wstun: this command has no calls to trace", http.StatusNotFound)
		return
	case a.streams.Add(1) > maxStreams:
		a.streams.Add(-1)
		http.Error(w, fmt.Sprintf("wstun: %d streams already", maxStreams), http.StatusServiceUnavailable)
		return
	}
	defer a.streams.Add(-1)
	w.Header().Set(openCallsHeader, fmt.Sprint(a.Monitor.Status().Open))
	stream := web.NewStream(w)
	if err := a.Attach(r.Context(), stream, o); err != nil && r.Context().Err() == nil {
		http.Error(w, "wstun: "+err.Error(), http.StatusBadRequest) // has no effect after the first write
	}
}

func (a *Admin) reconnect(w http.ResponseWriter, _ *http.Request) {
	if a.Reconnect == nil {
		http.Error(w, "wstun: this command can't make clients reconnect", http.StatusNotFound)
		return
	}
	a.Reconnect()
	w.WriteHeader(http.StatusNoContent)
}

func (a *Admin) mask(text string) string {
	if a.Secrets != nil {
		text = a.Secrets.Mask(text)
	}
	return escape.Text(text)
}

func (a *Admin) answerJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "wstun: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, a.mask(string(text))+"\n")
}

func answerText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
}
