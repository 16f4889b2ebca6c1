package inspect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/reflection"
)

// maxRequest is how long the body of a request may be, in bytes.
const maxRequest = 1 << 20

// parse parses the body of a request into v, or fails.
func parse(w http.ResponseWriter, r *http.Request, v any) bool {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "want Content-Type: application/json", "")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) { // no body is an empty object
		fail(w, http.StatusBadRequest, err.Error(), "")
		return false
	}
	return true
}

// callRequest is the body of a request for a call.
type callRequest struct {
	Session   uint64              `json:"session"`
	Method    string              `json:"method"`
	Metadata  map[string][]string `json:"metadata"`
	Deadline  string              `json:"deadline"`
	Messages  []json.RawMessage   `json:"messages"`
	HalfClose bool                `json:"half_close"`
}

// check returns the deadline, 0 for none, and the metadata.
func (q *callRequest) check() (timeout time.Duration, md metadata.MD, err error) {
	if q.Deadline != "" {
		if timeout, err = time.ParseDuration(q.Deadline); err != nil || timeout <= 0 {
			return 0, nil, errors.New("deadline: want a duration such as 5s")
		}
	}
	md = metadata.MD{}
	for name, values := range q.Metadata {
		if reason := call.Reserved(name); reason != "" {
			return 0, nil, errors.New(name + ": " + reason)
		}
		for _, value := range values {
			if strings.HasSuffix(name, "-bin") {
				data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
				if err != nil {
					return 0, nil, errors.New(name + ": want base64")
				}
				value = string(data)
			}
			if err := call.CheckMetadata(name, value); err != nil {
				return 0, nil, err
			}
			md.Append(name, value)
		}
	}
	return timeout, md, nil
}

// postCall makes a call.
func (h *Handler) postCall(w http.ResponseWriter, r *http.Request) { //nolint:contextcheck // the call outlives the request
	q := &callRequest{}
	if !parse(w, r, q) {
		return
	}
	timeout, md, err := q.check()
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	cc, err := h.opts.Conn(q.Session)
	if err != nil {
		fail(w, http.StatusConflict, err.Error(), "")
		return
	}
	finding, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	target := &call.Target{Conn: cc, Catalog: h.opts.Catalog}
	method, err := target.Method(finding, q.Method)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), suggestion(err))
		return
	}
	messages, err := parseMessages(finding, method, raw(q.Messages))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	if len(messages) > 1 && !method.IsStreamingClient() {
		fail(w, http.StatusBadRequest, reflection.Name(method)+" takes one message, and there are more", "")
		return
	}
	number := h.mine.next()
	if number == 0 {
		fail(w, http.StatusConflict, "too many calls of the page are open", "")
		return
	}
	c := &pageCall{handler: h, method: method, wake: make(chan struct{}, 1)}
	ctx := h.ctx
	if timeout > 0 {
		ctx, c.cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, c.cancel = context.WithCancel(ctx)
	}
	_ = c.send(messages, q.HalfClose || !method.IsStreamingClient())
	if c.begin(number, q.Session, timeout, md); c.id == 0 {
		c.cancel()
		fail(w, http.StatusConflict, "there is no memory for another call", "")
		return
	}
	h.mine.add(c)
	if !h.start(func() { c.run(ctx, cc, md) }) {
		h.mine.remove(c.id)
		c.cancel()
	}
	reply(w, http.StatusCreated, map[string]any{"id": c.id})
}

func raw(messages []json.RawMessage) (texts [][]byte) {
	for _, m := range messages {
		texts = append(texts, m)
	}
	return texts
}

// suggestion returns the names that an unknown one may mean.
func suggestion(err error) string {
	ne, ok := errors.AsType[*reflection.NameError](err)
	if !ok {
		return ""
	}
	if names := append(ne.Candidates, ne.Suggestions...); len(names) > 0 {
		return "is it " + strings.Join(names[:min(len(names), 3)], " or ") + "?"
	}
	return ""
}

// pageCall returns the open call of the page that a request is about, or fails.
func (h *Handler) pageCall(w http.ResponseWriter, r *http.Request) *pageCall {
	d := h.call(w, r)
	if d == nil {
		return nil
	}
	c := h.mine.get(d.ID)
	if c == nil {
		fail(w, http.StatusConflict, "the call has ended, or isn't one of the page", "")
	}
	return c
}

// postMessages sends messages.
func (h *Handler) postMessages(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if !parse(w, r, &q) {
		return
	}
	c := h.pageCall(w, r)
	if c == nil {
		return
	}
	messages, err := parseMessages(r.Context(), c.method, raw(q.Messages))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	h.send(w, c, messages, false)
}

// postHalfClose ends the requests of a call.
func (h *Handler) postHalfClose(w http.ResponseWriter, r *http.Request) {
	if !parse(w, r, &struct{}{}) {
		return
	}
	if c := h.pageCall(w, r); c != nil {
		h.send(w, c, nil, true)
	}
}

func (h *Handler) send(w http.ResponseWriter, c *pageCall, messages []protoreflect.ProtoMessage, end bool) {
	if err := c.send(messages, end); err != nil {
		fail(w, http.StatusConflict, err.Error(), "")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// deleteCall cancels a call.
func (h *Handler) deleteCall(w http.ResponseWriter, r *http.Request) {
	if !parse(w, r, &struct{}{}) {
		return
	}
	if c := h.pageCall(w, r); c != nil {
		c.cancel()
		w.WriteHeader(http.StatusNoContent)
	}
}
