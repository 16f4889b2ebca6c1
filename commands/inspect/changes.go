package inspect

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/web"
)

const (
	// batchInterval is the shortest time between two batches.
	batchInterval = 100 * time.Millisecond

	// sessionInterval is how often sessions are looked at while nothing else changes.
	sessionInterval = time.Second

	// heartbeat is how often there is a batch even if nothing changes.
	heartbeat = 15 * time.Second

	// maxStreams is how many streams of changes may be open. The server has a limit for all
	// requests, and must answer others, too.
	maxStreams = 16
)

// batch is a line of the stream of changes.
type batch struct {
	Type     string      `json:"type"`
	Rev      uint64      `json:"rev"`
	Now      int64       `json:"now"`
	Sessions []Session   `json:"sessions"`
	Calls    []*callView `json:"calls"`
	Gone     goneView    `json:"gone"`
}

type goneView struct {
	Calls uint64   `json:"calls"`
	IDs   []uint64 `json:"ids"`
}

// stream is a stream of changes. A slow reader gets fewer batches with more changes.
type stream struct {
	handler  *Handler
	w        *web.StreamWriter
	since    uint64
	dropped  uint64            // calls, in the batch before
	sessions map[uint64]string // as sent
	sent     time.Time         // the latest batch
}

// changes serves the stream of changes.
func (h *Handler) changes(w http.ResponseWriter, r *http.Request) {
	since, err := number(r, "since", 0)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	defer h.streams.Add(-1)
	if h.streams.Add(1) > maxStreams {
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d pages are open already", maxStreams), "close some of them")
		return
	}
	s := &stream{handler: h, w: web.NewStream(w), since: since, sessions: map[uint64]string{}}
	if !s.write(map[string]any{"type": "hello", "boot": h.boot, "rev": h.store.Rev()}) {
		return
	}
	if boot := r.FormValue("boot"); since > 0 && boot != "" && boot != h.boot {
		s.since = 0
		if !s.write(map[string]any{"type": "reset"}) {
			return
		}
	}
	s.run(r.Context().Done())
}

// run writes batches until the reader is gone, the handler is closed, or done is.
func (s *stream) run(done <-chan struct{}) {
	pause, poll := time.NewTimer(batchInterval), time.NewTicker(sessionInterval)
	defer pause.Stop()
	defer poll.Stop()
	for s.next() {
		pause.Reset(batchInterval)
		select {
		case <-pause.C:
		case <-done:
			return
		case <-s.handler.ctx.Done():
			return
		}
		select {
		case <-s.handler.store.Changed(s.since):
		case <-poll.C:
		case <-done:
			return
		case <-s.handler.ctx.Done():
			return
		}
	}
}

// next writes a batch, if there is a change or it is time for one. It returns false if the
// reader is gone.
func (s *stream) next() bool {
	changes := s.handler.store.Changes(s.since)
	if changes.Reset && !s.write(map[string]any{"type": "reset"}) {
		return false
	}
	now := time.Now()
	b := &batch{
		Type: "batch", Rev: changes.Rev, Now: now.UnixMilli(), Sessions: s.changedSessions(),
		Calls: make([]*callView, 0, len(changes.Calls)), Gone: goneView{changes.Total, changes.Gone},
	}
	if b.Gone.IDs == nil {
		b.Gone.IDs = []uint64{}
	}
	for i := range changes.Calls {
		b.Calls = append(b.Calls, s.handler.view(&changes.Calls[i]))
	}
	s.since = changes.Rev
	if len(b.Sessions)+len(b.Calls)+len(b.Gone.IDs) == 0 && b.Gone.Calls == s.dropped && now.Sub(s.sent) < heartbeat {
		return true
	}
	s.sent, s.dropped = now, b.Gone.Calls
	return s.write(b)
}

// changedSessions returns the sessions that differ from those in earlier batches. Only the
// first batch has their rates, which the reader can continue by itself.
func (s *stream) changedSessions() []Session {
	isFirst, changed := s.sent.IsZero(), []Session{}
	for _, session := range s.handler.sessions() {
		plain := session
		plain.Rates = nil
		text := string(line(plain))
		if s.sessions[session.ID] == text {
			continue
		}
		s.sessions[session.ID] = text
		if !isFirst {
			session = plain
		}
		changed = append(changed, session)
	}
	return changed
}

// write writes a line, and reports whether the reader is still there.
func (s *stream) write(v any) bool {
	_, err := s.w.Write(line(v))
	return err == nil
}

// number returns a parameter that is a number, or fallback if it is missing.
func number(r *http.Request, name string, fallback uint64) (uint64, error) {
	value := r.FormValue(name)
	if value == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return 0, &parameterError{name, value}
	}
	return n, nil
}

// parameterError reports a parameter that isn't a number.
type parameterError struct{ name, value string }

func (e *parameterError) Error() string { return e.name + "=" + e.value + ": want a number" }

// call returns the call of a request, or fails.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) *store.Details {
	id, _ := strconv.ParseUint(r.PathValue("id"), 10, 64)
	d := h.store.Call(id)
	if d == nil {
		fail(w, http.StatusNotFound, "there is no call "+r.PathValue("id")+" any more", "")
	}
	return d
}

// newestFirst returns the calls in the order of a list.
func newestFirst(calls []store.Call) []store.Call {
	slices.Reverse(calls)
	return calls
}
