package inspect

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/replay"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/tunnel/trace"
)

// replay makes a call again and serves the differences.
func (h *Handler) replay(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Session uint64 `json:"session"`
	}
	if !parse(w, r, &request) {
		return
	}
	d := h.call(w, r)
	if d == nil {
		return
	}
	cc, err := h.opts.Conn(request.Session)
	if err != nil {
		fail(w, http.StatusConflict, err.Error(), "")
		return
	}
	rules, err := replay.ParseRules(nil, nil)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	var out bytes.Buffer
	printer := &replay.Printer{Out: &out, JSON: true}
	replay.Run(r.Context(), []*recording.Call{h.recorded(d.ID)}, &replay.Options{
		Conn: cc, Catalog: h.opts.Catalog, Rules: rules, Redact: h.decoder.IsSecret, Report: printer.Result,
	})
	var result map[string]json.RawMessage
	if json.Unmarshal([]byte(h.opts.Secrets.Mask(out.String())), &result) != nil {
		fail(w, http.StatusConflict, "the connection was lost", "")
		return
	}
	delete(result, "event")
	if result["differences"] == nil {
		result["differences"] = json.RawMessage("[]")
	}
	reply(w, http.StatusOK, result)
}

// recorded returns a call as a recording has it.
func (h *Handler) recorded(id uint64) *recording.Call {
	c := &recording.Call{Number: id}
	for _, e := range h.store.Events(id) {
		event := &recording.Event{Event: e.Event, Redacted: e.Redacted}
		if e.Type == trace.ClientMessage || e.Type == trace.ServerMessage {
			event.Data, event.Whole = tracing.Inflate(&e.Event, longMessage)
			event.Encoding = ""
		}
		event.Details = details(&e.Event)
		c.Events = append(c.Events, event)
	}
	return c
}

// details returns the details of the status of e, or nil if it has none.
func details(e *trace.Event) *spb.Status {
	for _, f := range e.Metadata {
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(f.Value, "="))
		if s := (&spb.Status{}); f.Name == recording.DetailsKey && err == nil && proto.Unmarshal(data, s) == nil {
			return s
		}
	}
	return nil
}
