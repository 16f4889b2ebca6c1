package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// shortMessage is how much of a message is decoded for a list or a filter, in bytes, and
	// longMessage for one message, which may be compressed.
	shortMessage = 16 << 10
	longMessage  = 4 << 20

	// maxListed is how many calls a list has.
	maxListed = 10_000

	// filterTimeout is how long it may take to filter calls by the fields of messages.
	filterTimeout = 10 * time.Second
)

// list serves the calls, the newest first.
func (h *Handler) list(w http.ResponseWriter, r *http.Request) {
	limit, err := number(r, "limit", 200)
	before, err2 := number(r, "before", 1<<63)
	if err = errors.Join(err, err2); err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	changes := h.store.Changes(0)
	selects, ok := h.selects(r.Context(), w, r)
	if !ok {
		return
	}
	calls := []*callView{}
	for _, c := range newestFirst(changes.Calls) {
		if uint64(len(calls)) >= min(limit, maxListed) {
			break
		}
		if c.ID >= before {
			continue
		}
		selected, err := selects(&c)
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error(), "add a method or a session to the filter")
			return
		}
		if selected {
			calls = append(calls, h.view(&c))
		}
	}
	reply(w, http.StatusOK, map[string]any{"rev": changes.Rev, "calls": calls, "dropped": changes.Total})
}

// selects returns the filter of a request, or fails.
func (h *Handler) selects(ctx context.Context, w http.ResponseWriter, r *http.Request) (func(*store.Call) (bool, error), bool) {
	filter, err := tracing.ParseFilter(r.FormValue("q"))
	if err != nil {
		fail(w, http.StatusBadRequest, "q: "+err.Error(), "terms are Hub/*, !Hub/Watch*, status!=OK, >500ms, size>1MiB, $.name=z* and s1")
		return nil, false
	}
	deadline := time.Now().Add(filterTimeout)
	return func(c *store.Call) (bool, error) {
		code, duration := facts(c)
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		selected := filter.Selects(&tracing.Facts{
			Session: c.Session, Method: c.Method, Duration: duration, Largest: c.Largest, Ended: c.Ended, Code: code,
			Messages: h.values(ctx, c.ID),
		})
		if ctx.Err() != nil {
			return false, errors.New("the messages are too many to search in " + filterTimeout.String())
		}
		return selected, nil
	}, true
}

// values yields the messages of a call as decoded JSON, until ctx ends.
func (h *Handler) values(ctx context.Context, id uint64) iter.Seq[any] {
	return func(yield func(any) bool) {
		h.eachMessage(ctx, id, 0, func(d *store.Details, m *store.Message) bool {
			var value any
			decoded := h.decoder.Message(ctx, d.Event(m), shortMessage)
			return json.Unmarshal([]byte(decoded.JSON), &value) != nil || yield(value)
		})
	}
}

// eachMessage calls f with the messages of a call from a position on, until f returns false
// or ctx ends.
func (h *Handler) eachMessage(ctx context.Context, id, from uint64, f func(*store.Details, *store.Message) bool) {
	const some = 256
	d := h.store.Call(id)
	for d != nil && ctx.Err() == nil {
		messages, _ := h.store.Messages(id, from, some)
		for _, m := range messages {
			if ctx.Err() != nil || !f(d, m) {
				return
			}
			from = m.Position + 1
		}
		if len(messages) < some {
			return
		}
	}
}

// detail serves one call.
func (h *Handler) detail(w http.ResponseWriter, r *http.Request) {
	if d := h.call(w, r); d != nil {
		reply(w, http.StatusOK, h.detailView(r.Context(), d))
	}
}

// rate serves the number of messages in spans of time.
func (h *Handler) rate(w http.ResponseWriter, r *http.Request) {
	const most = 1000
	n, err := number(r, "n", 160)
	if err != nil || n < 1 || n > most {
		fail(w, http.StatusBadRequest, "n="+r.FormValue("n")+": want a number from 1 to 1000", "")
		return
	}
	d := h.call(w, r)
	if d == nil {
		return
	}
	_, length := facts(&d.Call)
	span := max(length/time.Duration(n), 1)
	counts := make([]uint32, n)
	for _, at := range h.store.Times(d.ID) {
		i := time.Duration(at-d.Start.UnixNano()) / span
		counts[min(max(i, 0), time.Duration(n-1))]++
	}
	reply(w, http.StatusOK, map[string]any{"from": d.Start.UnixMilli(), "ms": float64(span) / float64(time.Millisecond), "counts": counts})
}

// export serves calls as a recording.
func (h *Handler) export(w http.ResponseWriter, r *http.Request) {
	selects, ok := h.selects(r.Context(), w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="calls.ndjson"`)
	_ = h.decoder.Export(r.Context(), w, cmp.Or(h.opts.Version, "unknown"), func(yield func(*trace.Event, []string) bool) {
		for _, c := range h.store.Calls() {
			if selected, err := selects(&c); !selected || err != nil {
				continue
			}
			for _, e := range h.store.Events(c.ID) {
				if r.Context().Err() != nil || !yield(&e.Event, e.Redacted) {
					return
				}
			}
		}
	})
}
