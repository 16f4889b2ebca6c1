package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wstun/wstun/commands/inspect/store"
)

const (
	// maxPage is how many messages an answer has, and maxPageSize how long their JSON may
	// be before no more are added, in bytes.
	maxPage     = 500
	maxPageSize = 4 << 20

	// findTime is how long a search may take before it answers.
	findTime = 2 * time.Second
)

// messageView is a message in JSON. See api.md.
type messageView struct {
	Seq      uint64          `json:"seq"`
	Dir      string          `json:"dir"`
	Time     int64           `json:"t"`
	Since    *int64          `json:"dt,omitempty"`
	Size     int64           `json:"size"`
	Wire     int64           `json:"wire,omitempty"`
	Encoding string          `json:"encoding,omitempty"`
	JSON     json.RawMessage `json:"json,omitempty"`
	Fields   json.RawMessage `json:"fields,omitempty"`
	Unknown  int             `json:"unknown,omitempty"`
	Redacted []string        `json:"redacted,omitempty"`
	Cut      bool            `json:"cut,omitempty"`
	Note     string          `json:"note,omitempty"`
}

// pageView is an answer with messages. See api.md.
type pageView struct {
	First    uint64         `json:"first"`
	Total    uint64         `json:"total"`
	Kept     uint64         `json:"kept"`
	Dropped  uint64         `json:"dropped"`
	Hole     *hole          `json:"hole,omitempty"`
	Messages []*messageView `json:"messages"`
	Scanned  *uint64        `json:"scanned,omitempty"`
	Next     *uint64        `json:"next,omitempty"`
}

// hole is where messages were dropped.
type hole struct {
	From uint64 `json:"from"`
	N    uint64 `json:"n"`
}

func direction(fromServer bool) string {
	if fromServer {
		return "down"
	}
	return "up"
}

// messageView returns a message of which up to limit bytes are decoded.
func (h *Handler) messageView(ctx context.Context, d *store.Details, m *store.Message, limit int) *messageView {
	decoded := h.decoder.Message(ctx, d.Event(m), limit)
	v := &messageView{
		Seq: m.Position + 1, Dir: direction(m.FromServer), Time: m.Time.UnixMicro(), Size: m.Size, Encoding: text(m.Encoding),
		Unknown: decoded.Unknown, Cut: decoded.Cut, Note: decoded.Note, Redacted: slices.Concat(m.Redacted, decoded.Redacted),
	}
	if m.Position > 0 {
		v.Since = new(m.Since.Microseconds())
	}
	if m.Encoding != "" {
		v.Size, v.Wire = decoded.Size, m.Size
	}
	if decoded.JSON != "" {
		if decoded.Schema {
			v.JSON = json.RawMessage(decoded.JSON)
		} else {
			v.Fields = json.RawMessage(decoded.JSON)
		}
	}
	return v
}

// messages serves a page of the messages of a call, or a search.
func (h *Handler) messages(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "n", 200)
	position, fromEnd := strings.CutPrefix(r.FormValue("from"), "-")
	from, err2 := strconv.ParseUint("0"+position, 10, 63)
	if err = errors.Join(err, err2); err != nil {
		fail(w, http.StatusBadRequest, "from and n: want numbers", "")
		return
	}
	dir := r.FormValue("dir")
	if dir != "" && dir != "up" && dir != "down" {
		fail(w, http.StatusBadRequest, "dir="+dir+": want up or down", "")
		return
	}
	d := h.call(w, r)
	if d == nil {
		return
	}
	p := &pageView{
		Total: d.Stored, Kept: d.Stored - d.Dropped, Dropped: d.Dropped, First: from, Messages: []*messageView{},
	}
	if fromEnd {
		p.First = d.Stored - min(from, d.Stored)
	}
	if d.Dropped > 0 {
		p.Hole = &hole{store.Head, d.Dropped}
	}
	s := &search{page: p, dir: dir, text: strings.ToLower(r.FormValue("q")), n: int(min(max(n, 1), maxPage))}
	if s.text != "" {
		select { // one at a time
		case h.scan <- struct{}{}:
			defer func() { <-h.scan }()
		case <-r.Context().Done():
			return
		}
	}
	s.until = time.Now().Add(findTime)
	ctx := r.Context()
	h.eachMessage(ctx, d.ID, p.First, func(d *store.Details, m *store.Message) bool { return s.add(ctx, h, d, m) })
	if s.text != "" {
		p.Scanned = &s.scanned
	}
	if len(p.Messages) > 0 && s.text == "" {
		p.First = p.Messages[0].Seq - 1
	}
	reply(w, http.StatusOK, p)
}

// search fills a page with messages that match.
type search struct {
	page    *pageView
	dir     string
	text    string // in lower case
	n       int
	until   time.Time
	size    int // of the page so far, in bytes
	scanned uint64
}

// add adds m to the page if it matches, and reports whether there is room for another.
func (s *search) add(ctx context.Context, h *Handler, d *store.Details, m *store.Message) bool {
	isFull := len(s.page.Messages) == s.n || s.size > maxPageSize
	isLate := s.text != "" && time.Now().After(s.until)
	if isFull || isLate {
		if s.text != "" || s.dir != "" {
			s.page.Next = new(m.Position)
		}
		return false
	}
	s.scanned++
	if s.dir != "" && s.dir != direction(m.FromServer) {
		return true
	}
	v := h.messageView(ctx, d, m, shortMessage)
	if s.text != "" && !strings.Contains(strings.ToLower(string(v.JSON)+string(v.Fields)), s.text) {
		return true
	}
	s.page.Messages = append(s.page.Messages, v)
	s.size += len(v.JSON) + len(v.Fields)
	return true
}

// message serves one message, in JSON or its bytes.
func (h *Handler) message(w http.ResponseWriter, r *http.Request) {
	d := h.call(w, r)
	if d == nil {
		return
	}
	seq, _ := strconv.ParseUint(r.PathValue("seq"), 10, 63)
	messages, _ := h.store.Messages(d.ID, max(seq, 1)-1, 1)
	if len(messages) == 0 || messages[0].Position+1 != seq {
		fail(w, http.StatusNotFound, "there is no message "+r.PathValue("seq")+" any more", "")
		return
	}
	if r.FormValue("raw") == "" {
		reply(w, http.StatusOK, h.messageView(r.Context(), d, messages[0], longMessage))
		return
	}
	decoded := h.decoder.Message(r.Context(), d.Event(messages[0]), longMessage)
	if decoded.Data == nil {
		fail(w, http.StatusUnprocessableEntity, "the message isn't kept as a whole", "")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="message.binpb"`)
	_, _ = w.Write(decoded.Data) //nolint:gosec // its type is application/octet-stream, and the guard forbids others
}
