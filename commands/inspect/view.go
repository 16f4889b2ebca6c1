package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// callView is a call in JSON. See api.md.
type callView struct {
	ID      uint64                  `json:"id"`
	Session uint64                  `json:"session,omitempty"`
	Stream  uint32                  `json:"stream,omitempty"`
	Method  string                  `json:"method"`
	Kind    string                  `json:"kind,omitempty"`
	Infra   bool                    `json:"infrastructure,omitempty"`
	Peer    string                  `json:"peer,omitempty"`
	Origin  store.Origin            `json:"origin"`
	Start   int64                   `json:"start"`
	Headers *recording.Milliseconds `json:"headers_ms,omitempty"`
	First   *recording.Milliseconds `json:"first_ms,omitempty"`
	End     int64                   `json:"end,omitempty"`
	MS      *recording.Milliseconds `json:"ms,omitempty"`
	Code    string                  `json:"code,omitempty"`
	Message string                  `json:"message,omitempty"`
	Up      count                   `json:"up"`
	Down    count                   `json:"down"`
	Last    int64                   `json:"last,omitempty"`
	Rates   []uint32                `json:"rates,omitempty"`
	Dropped uint64                  `json:"dropped,omitempty"`
	Lost    uint64                  `json:"lost,omitempty"`
	Note    string                  `json:"note,omitempty"`
}

// count has messages and bytes.
type count struct {
	N uint64 `json:"n"`
	B int64  `json:"b"`
}

// maxMessage is how much of a status message is in a list, in bytes.
const maxMessage = 4 << 10

// view returns c in JSON.
func (h *Handler) view(c *store.Call) *callView {
	v := &callView{
		ID: c.ID, Session: c.Session, Stream: c.Stream, Method: c.Method, Kind: h.kind(c.Method), Infra: trace.IsInfrastructure(c.Method), Origin: c.Origin,
		Start: c.Start.UnixMilli(), Up: count{c.Sent.Messages, c.Sent.Bytes}, Down: count{c.Received.Messages, c.Received.Bytes},
		Rates: c.Rates, Dropped: c.Dropped, Lost: c.Lost(),
	}
	if c.HasHeaders {
		v.Headers = milliseconds(c.Headers)
	}
	if c.HasFirst {
		v.First = milliseconds(c.First)
	}
	if !c.Last.IsZero() {
		v.Last = c.Last.UnixMilli()
	}
	if c.Ended {
		v.End, v.MS = c.Start.Add(c.Duration).UnixMilli(), milliseconds(c.Duration)
		code, note := codeOf(c)
		v.Code, v.Note = recording.StatusName(code), note
		masked := h.opts.Secrets.Mask(c.Message) // first: a part of a secret isn't found
		v.Message = text(masked[:min(len(masked), maxMessage)])
	}
	if c.Origin == store.Record && !c.Ended {
		v.Note = "open at the end of the recording"
	}
	if v.Note == "" && !c.IsGRPC && c.Origin != store.Record {
		v.Note = "not gRPC"
	}
	return v
}

func milliseconds(d time.Duration) *recording.Milliseconds {
	return new(recording.ToMilliseconds(d))
}

// deadlineLeeway is how much earlier than its deadline a call may end because of it.
const deadlineLeeway = 5 * time.Millisecond

// codeOf returns the status of an ended call, and a note if the server hasn't sent one.
func codeOf(c *store.Call) (code codes.Code, note string) {
	switch {
	case c.End == trace.Cancel && c.Side == trace.Client && c.Timeout > 0 && c.Duration+deadlineLeeway >= c.Timeout:
		return codes.DeadlineExceeded, "cancelled by the client at its deadline"
	case c.End == trace.Cancel:
		return codes.Canceled, fmt.Sprintf("reset by the %s with %s", c.Side, recording.CodeName(c.HTTP2Code))
	case c.End == trace.Cut:
		return codes.Unavailable, "the connection ended"
	case c.Code == trace.NoStatus && c.HTTPStatus != "":
		return codes.Unknown, strings.TrimSuffix("not gRPC: "+c.HTTPStatus+", "+c.ContentType, ", ")
	case c.Code == trace.NoStatus:
		return codes.Unknown, "no gRPC status"
	case c.Side == trace.Wstun:
		return c.Code, "answered by wstun"
	}
	return c.Code, ""
}

// facts returns the status of c, if it has ended, and its duration so far.
func facts(c *store.Call) (code codes.Code, duration time.Duration) {
	switch {
	case c.Ended:
		code, _ = codeOf(c)
		return code, c.Duration
	case c.Origin == store.Record: // nothing is known of it after the end of the recording
		return 0, max(0, c.Last.Sub(c.Start))
	}
	return 0, time.Since(c.Start)
}

// pairs returns metadata as names and values.
func (h *Handler) pairs(fields []hpack.HeaderField) [][2]string {
	list := make([][2]string, 0, len(fields))
	for _, f := range fields {
		if f.Name != recording.DetailsKey { // the details are shown, without secrets
			list = append(list, [2]string{text(f.Name), text(h.opts.Secrets.Mask(f.Value))})
		}
	}
	return list
}

// text returns a peer's text as valid UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// phase is a point in the life of a call.
type phase struct {
	Phase string                 `json:"phase"`
	MS    recording.Milliseconds `json:"ms"`
}

// detailView is a call with its metadata in JSON.
type detailView struct {
	Call        *callView              `json:"call"`
	Authority   string                 `json:"authority,omitempty"`
	Timeout     recording.Milliseconds `json:"timeout_ms,omitempty"`
	Encoding    string                 `json:"encoding,omitempty"`
	Request     [][2]string            `json:"request"`
	Response    [][2]string            `json:"response"`
	Trailers    [][2]string            `json:"trailers"`
	Omitted     bool                   `json:"omitted,omitempty"`
	Details     []json.RawMessage      `json:"details"`
	DetailsNote string                 `json:"details_note,omitempty"`
	Timing      []phase                `json:"timing"`
	Mine        bool                   `json:"mine,omitempty"`
}

func (h *Handler) detailView(ctx context.Context, d *store.Details) *detailView {
	v := &detailView{
		Call: h.view(&d.Call), Authority: text(d.Authority), Timeout: recording.ToMilliseconds(d.Timeout), Omitted: d.Omitted,
		Request: h.pairs(d.Request), Response: h.pairs(d.Response), Trailers: h.pairs(d.Trailers),
		Details: []json.RawMessage{}, Timing: h.timing(d), Mine: h.mine.get(d.ID) != nil,
	}
	for _, f := range slices.Concat(d.Request, d.Response) {
		if f.Name == "grpc-encoding" {
			v.Encoding = text(f.Value)
		}
	}
	if e := d.EndEvent(); e != nil && e.Type == trace.ServerTrailer {
		v.Call.Message = text(h.opts.Secrets.Mask(d.Message))
		details, note := h.decoder.Details(ctx, e)
		for _, detail := range details {
			v.Details = append(v.Details, json.RawMessage(h.opts.Secrets.Mask(detail)))
		}
		v.DetailsNote = note
	}
	return v
}

// timing returns the phases of a call.
func (h *Handler) timing(d *store.Details) []phase {
	phases := []phase{{"begin", 0}}
	add := func(has bool, name string, at time.Duration) {
		if has {
			phases = append(phases, phase{name, recording.ToMilliseconds(at)})
		}
	}
	first, _ := h.store.Messages(d.ID, 0, 1)
	hasRequest := len(first) > 0 && first[0].Position == 0 && !first[0].FromServer
	if hasRequest {
		add(true, "request", max(0, first[0].Time.Sub(d.Start)))
	}
	add(d.HasClose, "half-close", d.LastRequest)
	add(d.HasHeaders, "headers", d.Headers)
	add(d.HasFirst, "first", d.First)
	add(d.HasFirst && d.Received.Messages > 1, "last", max(0, d.Last.Sub(d.Start)))
	add(d.Ended, "end", d.Duration)
	return phases
}
