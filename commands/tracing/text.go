package tracing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/trace"
)

// textRenderer renders events as lines with columns: the time, the session and the call,
// a mark, the method, and details.
type textRenderer struct {
	messages *messages
	secrets  *escape.Secrets // masked
	colors   terminal.Colors
	ascii    bool       // no arrows
	width    func() int // of the terminal; 0: lines aren't cut

	callWidth   int               // of the column of sessions and calls
	methodWidth int               // of the column
	names       map[string]string // of methods as they are shown
	taken       map[string]bool   // the values of names
}

// mark is the column that shows the kind of event at a glance.
type mark struct {
	text  string
	color terminal.Color
}

func (r *textRenderer) event(e *trace.Event, c *call, t *text) []byte {
	switch e.Type {
	case trace.ClientMessage, trace.ServerMessage:
		return r.message(e, c, t)
	case trace.ServerTrailer, trace.Cancel, trace.Cut:
		return r.end(e, c, t)
	case trace.GoAway:
		return r.goAway(e)
	case trace.Other:
		details := e.Message
		if e.Duration > 0 {
			details = fmt.Sprintf("ended after %s, %s sent, %s received", duration(e.Duration), Size(e.Sent.Bytes), Size(e.Received.Bytes))
		}
		return r.line(e.Time, e.Session, 0, mark{"other", terminal.Yellow}, "stream "+strconv.Itoa(int(e.Stream))+": "+details)
	case trace.Lost:
		return r.line(e.Time, 0, 0, mark{"lost", terminal.Red}, losses(e.Lost)+": the trace could not keep up")
	case trace.ClientHeader, trace.ServerHeader, trace.ClientHalfClose:
	}
	return nil
}

// goAway renders a GOAWAY frame, unless it is that of a client that closes its connection.
func (r *textRenderer) goAway(e *trace.Event) []byte {
	if e.Side == trace.Client && e.HTTP2Code == http2.ErrCodeNo {
		return nil
	}
	details, message := "GOAWAY from the "+e.Side.String(), e.Message
	if e.Side == trace.Wstun {
		details, message = "GOAWAY from wstun", strings.TrimPrefix(message, "wstun: ")
	}
	if e.HTTP2Code != http2.ErrCodeNo {
		details += ": " + recording.CodeName(e.HTTP2Code)
	}
	if message != "" {
		details += ": " + message
	}
	return r.line(e.Time, e.Session, 0, mark{"", ""}, details)
}

// losses describes losses.
func losses(l trace.Losses) string {
	var parts []string
	for _, p := range []struct {
		n    uint64
		text string
	}{{l.Calls, "calls"}, {l.Events, "messages"}, {l.Conns, "connections"}} {
		if p.n > 0 {
			parts = append(parts, strconv.FormatUint(p.n, 10)+" "+p.text)
		}
	}
	if l.Bytes > 0 {
		parts = append(parts, Size(l.Bytes)+" of messages")
	}
	return strings.Join(parts, ", ")
}

// message renders a message, if messages are shown.
func (r *textRenderer) message(e *trace.Event, c *call, t *text) []byte {
	if t == nil || !r.messages.show {
		return nil
	}
	m := mark{r.arrow(e.Type), ""}
	body := escape.Text(r.secrets.Mask(t.json))
	var notes []string
	if t.note != "" {
		notes = append(notes, Size(e.Size), escape.Line(t.note))
	}
	switch {
	case t.unknown == 1:
		notes = append(notes, "1 unknown field: the schema differs from the sender's")
	case t.unknown > 1:
		notes = append(notes, fmt.Sprintf("%d unknown fields: the schema differs from the sender's", t.unknown))
	case !t.schema && t.json != "":
		notes = append(notes, "no schema")
	}
	return r.fit(r.prefix(e.Time, c.session, c.number, m, c.method), body, strings.Join(notes, ", "))
}

// maxLine is how much of a message is shown where there is no terminal, in bytes.
const maxLine = 4 << 10

// fit returns a line with as much of body as fits in the width of the terminal.
func (r *textRenderer) fit(prefix, body, notes string) []byte {
	if notes != "" {
		notes = "   " + notes
	}
	limit := maxLine
	if columns := r.width(); columns > 0 {
		limit = max(columns-length(prefix)-length(notes)-1, 20)
	}
	if !r.messages.full {
		body = r.shorten(body, limit)
	}
	return []byte(strings.TrimRight(prefix+body+notes, " ") + "\n")
}

// shorten returns at most limit columns of s.
func (r *textRenderer) shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n, cut := 0, 0
	for i, c := range s {
		if n += columns(c); n >= limit && cut == 0 {
			cut = i // there must be room for the ellipsis
		}
		if n > limit {
			return s[:cut] + r.ellipsis()
		}
	}
	return s
}

// end renders the end of a call.
func (r *textRenderer) end(e *trace.Event, c *call, t *text) []byte {
	m, text := outcome(e)
	prefix := r.prefix(e.Time, c.session, c.number, m, c.method) + fmt.Sprintf("%9s", duration(e.Duration)) + r.counts(e.Sent, e.Received)
	if text != "" {
		prefix += "   "
	}
	if t == nil {
		return r.fit(prefix, escape.Line(r.secrets.Mask(text)), "")
	}
	out := slices.Clone(r.fit(prefix, escape.Line(r.secrets.Mask(text)), t.note))
	for _, detail := range t.details {
		out = append(out, r.fit("              ", escape.Text(r.secrets.Mask(detail)), "")...)
	}
	return out
}

// deadlineLeeway is how much earlier than its deadline a call may end because of it: an end
// that received the call late, or whose clock is coarse, is still meant.
const deadlineLeeway = 5 * time.Millisecond

// outcome returns the mark for the end of a call, and its reason.
func outcome(e *trace.Event) (mark, string) {
	switch e.Type {
	case trace.Cut:
		return mark{"CUT", terminal.Yellow}, e.Message
	case trace.Cancel:
		text := "CANCELLED by the " + e.Side.String()
		if e.HTTP2Code != http2.ErrCodeCancel {
			text += ": " + recording.CodeName(e.HTTP2Code)
		}
		if e.Timeout > 0 && e.Duration+deadlineLeeway >= e.Timeout {
			text = fmt.Sprintf("DEADLINE_EXCEEDED: the deadline of %s passed at the %s", duration(e.Timeout), e.Side)
		}
		return mark{"END", terminal.Yellow}, text
	}
	switch {
	case e.Code == trace.NoStatus && !e.IsGRPC:
		return mark{"HTTP", terminal.Yellow}, strings.TrimSpace(e.HTTPStatus + " " + e.ContentType)
	case e.Code == trace.NoStatus:
		text := "no gRPC status"
		if e.HTTPStatus != "" {
			text += ": HTTP " + e.HTTPStatus + " " + e.ContentType
		}
		return mark{"ERR", terminal.Red}, text
	case e.Code == codes.OK:
		return mark{"OK", terminal.Green}, ""
	}
	return mark{"ERR", terminal.Red}, strings.TrimSpace(recording.StatusName(e.Code) + " " + e.Message)
}

func (r *textRenderer) open(c *call, now time.Time, first bool) []byte {
	if first {
		if r.messages.show {
			return nil // its messages are
		}
		return []byte(strings.TrimRight(r.prefix(c.begun, c.session, c.number, mark{r.arrow(trace.ClientMessage), ""}, c.method), " ") + "\n")
	}
	return []byte(r.prefix(now, c.session, c.number, mark{r.ellipsis(), terminal.Dim}, c.method) +
		fmt.Sprintf("%9s", duration(c.duration)) + r.counts(c.sent, c.received) + "   last " + duration(now.Sub(c.last)) + " ago\n")
}

func (r *textRenderer) more(n int) []byte {
	return fmt.Appendf(nil, "%14s%s and %d more open calls\n", "", r.ellipsis(), n)
}

func (*textRenderer) unwritten(lines int) []byte {
	return fmt.Appendf(nil, "trace: %d lines are missing here: they could not be written\n", lines)
}

func (r *textRenderer) summary(s *summary) []byte {
	parts := []string{"1 call"}
	if n := s.ok + s.failed + s.open; n != 1 {
		parts[0] = fmt.Sprintf("%d calls", n)
	}
	if s.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d not OK", s.failed))
	}
	if s.open > 0 {
		parts = append(parts, fmt.Sprintf("%d still open", s.open))
	}
	if s.hidden > 0 {
		parts = append(parts, fmt.Sprintf("%d hidden: reflection, health and channelz (--filter '*' shows them)", s.hidden))
	}
	if l := losses(s.lost); l != "" {
		parts = append(parts, "lost: "+l)
	}
	return []byte("trace: " + strings.Join(parts, ", ") + "\n")
}

// line renders an event without a call.
func (r *textRenderer) line(at time.Time, session, number uint64, m mark, details string) []byte {
	return []byte(r.prefix(at, session, number, m, "") + escape.Line(r.secrets.Mask(details)) + "\n")
}

// prefix returns the columns before the details.
func (r *textRenderer) prefix(at time.Time, session, number uint64, m mark, method string) string {
	b := at.AppendFormat(make([]byte, 0, 128), "15:04:05.000  ")
	begin := len(b)
	if session > 0 {
		b = strconv.AppendUint(append(b, 's'), session, 10)
	}
	if number > 0 {
		b = strconv.AppendUint(append(b, " #"...), number, 10)
	}
	r.callWidth = min(max(r.callWidth, len(b)-begin, 7), 16)
	b = append(pad(b, r.callWidth-(len(b)-begin)), ' ')
	b = pad(b, 4-utf8.RuneCountInString(m.text))
	b = append(append(b, r.colors.Paint(m.color, m.text)...), "  "...)
	if method != "" {
		name := r.name(method)
		columns := length(name)
		r.methodWidth = min(max(r.methodWidth, columns), 32)
		b = append(pad(append(b, name...), r.methodWidth-columns), "  "...)
	}
	return string(b)
}

// maxNames is how many names of methods are remembered.
const maxNames = 10_000

// name returns Service/Method, or pkg.Service/Method if two services have the same name.
func (r *textRenderer) name(method string) string {
	if name, ok := r.names[method]; ok {
		return name
	}
	full := strings.TrimPrefix(method, "/")
	service, rest, ok := strings.Cut(full, "/")
	name := full
	if ok {
		name = service[strings.LastIndexByte(service, '.')+1:] + "/" + rest
	}
	if len(r.names) >= maxNames {
		clear(r.names)
		clear(r.taken)
	}
	if r.taken[name] {
		name = full
	}
	r.taken[name] = true
	const most = 200
	if name = netdiag.Line(name, most); strings.Contains(name, " ") {
		name = strconv.Quote(name) // a peer's name must not look like columns
	}
	r.names[method] = name
	return name
}

func (r *textRenderer) arrow(t trace.Type) string {
	switch {
	case r.ascii && t == trace.ClientMessage:
		return "->"
	case r.ascii:
		return "<-"
	case t == trace.ClientMessage:
		return "→"
	}
	return "←"
}

func (r *textRenderer) ellipsis() string {
	if r.ascii {
		return "..."
	}
	return "…"
}

// counts returns the columns of the messages that the client has sent and received.
func (r *textRenderer) counts(sent, received trace.Count) string {
	up, down, dot := "↑ ", "↓ ", " · "
	if r.ascii {
		up, down, dot = "up ", "down ", " / "
	}
	b := make([]byte, 0, 64)
	for _, column := range []struct {
		arrow string
		count trace.Count
	}{{up, sent}, {down, received}} {
		const width = 13
		b = append(b, "   "...)
		begin := len(b)
		b = strconv.AppendUint(append(b, column.arrow...), column.count.Messages, 10)
		if column.count.Bytes > 0 {
			b = append(append(b, dot...), Size(column.count.Bytes)...)
		}
		b = pad(b, width-utf8.RuneCount(b[begin:]))
	}
	return string(b)
}
