// Package inspect serves the inspector page and its API, which api.md describes.
//
//	h := inspect.New(&inspect.Options{Sessions: sessions, Catalog: catalog, …})
//	defer h.Close()
//	t := trace.New(0, h.Output())
//	http.Serve(l, guard(h))
//
// The calls are in a store.Store, in memory. Of a recording, [Handler.Load] reads them.
// Messages are decoded when they are asked for, and secrets are masked as in a trace.
//
// # Security
//
// The handler checks neither Host nor Origin, and demands no credentials: the caller does,
// before it passes a request on. All text of peers is JSON, with control characters and
// bidirectional marks escaped. A peer can't make an answer longer than a few MiB, except for
// one message that is asked for and an export.
//
// All methods of a Handler may be called from any goroutine.
package inspect

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// Options are the options of a Handler. Zero values mean the defaults.
type Options struct {
	Store store.Options

	Version   string          // of wstun
	Role      string          // the command, such as "dial"
	Addresses func() []string // local gRPC addresses. Default: none
	File      bool            // the calls are those of a recording

	// Sessions returns the sessions, also some that have ended. Default: none.
	Sessions func() []Session

	// Catalog has the types of the messages. Default: Learned.
	Catalog *reflection.Catalog

	// Learned receives the files of the reflection that passes, and those of
	// recordings. Default: a new one.
	Learned *tracing.Learned

	// Secrets are masked in metadata and statuses. Redact are patterns of secret fields and
	// metadata, see --redact. IsSecret chooses further secret metadata. Default: none.
	Secrets  *escape.Secrets
	Redact   []string
	IsSecret func(name string) bool

	// Conn returns a connection for the calls that the page makes in a session; 0 is any. It
	// must be created with call.DialOptions. If its calls are also traced, they are there
	// twice. Default: the page can't make calls.
	Conn func(session uint64) (grpc.ClientConnInterface, error)

	// Target is that of wstun call, and Address the host:port of a plaintext gRPC listener,
	// for copied commands. Default: an example, and for Role dial one of Addresses.
	Target, Address string
}

// Handler is an http.Handler for the page and its API. Use New.
type Handler struct {
	http.Handler
	opts    Options
	boot    string
	store   *store.Store
	decoder *tracing.Decoder
	kinds   kinds
	mine    pageCalls
	scan    chan struct{} // has an element while messages are searched
	ended   atomic.Bool
	streams atomic.Int64 // of changes

	ctx   context.Context //nolint:containedctx // until Close
	close context.CancelFunc

	mu    sync.Mutex // held while a task starts
	tasks sync.WaitGroup
}

// New returns a Handler. Close ends it.
func New(opts *Options) *Handler {
	h := &Handler{opts: *opts, boot: rand.Text(), store: store.New(opts.Store), scan: make(chan struct{}, 1)}
	if h.opts.Learned == nil {
		h.opts.Learned = &tracing.Learned{}
	}
	if h.opts.Catalog == nil {
		h.opts.Catalog = reflection.NewCatalog(h.opts.Learned)
	}
	h.decoder = tracing.NewDecoder(h.opts.Catalog, opts.Redact, opts.Secrets)
	h.ctx, h.close = context.WithCancel(context.Background())
	h.Handler = h.routes()
	return h
}

// Close ends the calls of the page and the streams of changes, and waits for the calls.
func (h *Handler) Close() {
	h.mu.Lock()
	h.close()
	h.mu.Unlock()
	h.tasks.Wait()
}

// start starts a task, for which Close waits, and reports whether it was not too late.
func (h *Handler) start(task func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false
	}
	h.tasks.Go(task)
	return true
}

// Store returns the store with the calls.
func (h *Handler) Store() *store.Store { return h.store }

// Output returns the output of a Tracer whose calls the page shows.
func (h *Handler) Output() trace.Output {
	o := h.store.Output(h.isSecret)
	o.Sink, o.Whole = &sink{h.store, h}, trace.IsInfrastructure
	return o
}

// sink is the store, and learns from the reflection that passes.
type sink struct {
	*store.Store
	handler *Handler
}

func (s *sink) Event(e *trace.Event) {
	if s.handler.opts.Learned.Learn(e) {
		s.handler.Forget()
	}
	s.Store.Event(e)
}

// Load adds the calls of a recording, which may be a live one. The errors are those of [store.Store.Load]. The store's
// Usage says how many calls and messages exceeded the limits.
func (h *Handler) Load(r io.Reader) error {
	defer h.Forget()
	origin := store.Peer
	if h.opts.File {
		origin = store.Record
	}
	return h.store.Load(r, origin, func(files []byte) { h.opts.Learned.AddSet(files) }, h.isSecret)
}

// End makes the page say that the process has ended whose calls it shows.
func (h *Handler) End() { h.ended.Store(true) }

// Forget makes the handler ask for the types of messages again, because there is another
// server.
func (h *Handler) Forget() {
	h.decoder.Forget()
	h.kinds.forget()
}

func (h *Handler) isSecret(name string) bool {
	return h.decoder.Redacts(name) || h.opts.IsSecret != nil && h.opts.IsSecret(name)
}

// routes returns the handler for all paths.
func (h *Handler) routes() http.Handler {
	const api = "/api/v1"
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc(api+"/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such path: "+r.URL.Path, "")
	})
	mux.HandleFunc("GET "+api+"/{$}", h.info)
	mux.HandleFunc("GET "+api+"/changes", h.changes)
	mux.HandleFunc("GET "+api+"/calls", h.list)
	mux.HandleFunc("GET "+api+"/calls/{id}", h.detail)
	mux.HandleFunc("GET "+api+"/calls/{id}/messages", h.messages)
	mux.HandleFunc("GET "+api+"/calls/{id}/messages/{seq}", h.message)
	mux.HandleFunc("GET "+api+"/calls/{id}/rate", h.rate)
	mux.HandleFunc("GET "+api+"/calls/{id}/command", h.command)
	mux.HandleFunc("GET "+api+"/services", h.services)
	mux.HandleFunc("GET "+api+"/services/{service}/{method}", h.method)
	mux.HandleFunc("GET "+api+"/export", h.export)
	if h.opts.Conn != nil {
		mux.HandleFunc("POST "+api+"/calls", h.postCall)
		mux.HandleFunc("POST "+api+"/calls/{id}/messages", h.postMessages)
		mux.HandleFunc("POST "+api+"/calls/{id}/half-close", h.postHalfClose)
		mux.HandleFunc("DELETE "+api+"/calls/{id}", h.deleteCall)
		mux.HandleFunc("POST "+api+"/calls/{id}/replay", h.replay)
	} else {
		mux.HandleFunc("POST "+api+"/", func(w http.ResponseWriter, _ *http.Request) {
			fail(w, http.StatusForbidden, "this page makes no calls", "start the process with --admin-calls, or use wstun inspect TARGET")
		})
	}
	return mux
}

func (h *Handler) info(w http.ResponseWriter, _ *http.Request) {
	u := h.store.Usage()
	addresses := []string{}
	if h.opts.Addresses != nil {
		addresses = append(addresses, h.opts.Addresses()...)
	}
	source := "live"
	switch {
	case h.opts.File:
		source = "file"
	case h.ended.Load():
		source = "ended"
	}
	reply(w, http.StatusOK, map[string]any{
		"boot": h.boot, "version": h.opts.Version, "role": h.opts.Role, "addresses": addresses, "source": source,
		"sessions": h.opts.Sessions != nil, "calls": h.opts.Conn != nil, "now": time.Now().UnixMilli(),
		"limits":  map[string]any{"memory": u.Limits.Memory, "calls": u.Limits.Calls, "messages": store.MaxMessages, "call_memory": store.MaxCallMemory},
		"used":    map[string]any{"memory": u.Memory, "calls": u.Calls, "messages": u.Messages},
		"dropped": map[string]any{"calls": u.Dropped.Calls, "messages": u.Dropped.Messages, "lost": u.Dropped.Lost.Events + u.Dropped.Lost.Calls, "encrypted": u.Dropped.Encrypted},
	})
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(line(v)) //nolint:gosec // its type is application/json
}

// line returns v as a line of JSON, with the characters escaped that a terminal or a reader
// would take for something else.
func line(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // a message that isn't JSON: impossible
		data, _ = json.Marshal(problem{Error: err.Error()})
	}
	return []byte(escape.Text(string(data)) + "\n")
}

// problem is the answer to a request that fails.
type problem struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func fail(w http.ResponseWriter, status int, text, hint string) {
	reply(w, status, problem{escape.Line(strings.TrimSpace(text)), hint})
}

// Session is a session, in JSON. Times are milliseconds since 1970.
type Session struct {
	ID                 uint64  `json:"id"`
	Remote             string  `json:"remote"`
	State              string  `json:"state"` // up, draining or down
	Since              int64   `json:"since"`
	Ended              int64   `json:"ended,omitempty"`
	Reason             string  `json:"reason,omitempty"` // of its end
	RTT                float64 `json:"rtt_ms,omitempty"` // the latest round trip
	LeastRTT           float64 `json:"rtt_min_ms,omitempty"`
	Streams            int     `json:"streams"` // of yamux, that are open
	Open               int     `json:"open"`    // calls
	Bytes              Bytes   `json:"bytes"`
	Rate               Bytes   `json:"rate"`            // a second
	Rates              []int64 `json:"rates,omitempty"` // bytes in each of up to 60 half seconds, the newest last
	CloseCode          int     `json:"close_code,omitempty"`
	CertificateExpires int64   `json:"certificate_expires,omitempty"`
}

// Bytes are bytes received and sent.
type Bytes struct {
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

// sessions returns the sessions.
func (h *Handler) sessions() []Session {
	if h.opts.Sessions == nil {
		return nil
	}
	sessions := slices.Clone(h.opts.Sessions())
	for i := range sessions {
		sessions[i].Reason = h.opts.Secrets.Mask(sessions[i].Reason)
		sessions[i].State = cmp.Or(sessions[i].State, "up")
	}
	return sessions
}
