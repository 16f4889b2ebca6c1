package tracing

import (
	"bytes"
	"context"
	"io"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// call is an open call.
type call struct {
	number, session uint64
	method          string
	begun, last     time.Time     // last: of its latest message
	duration        time.Duration // so far
	sent, received  trace.Count
	largest         int64 // message
	message         any   // the current message as decoded JSON, for a filter
	matched         map[string]bool
	ended           bool
	code            codes.Code

	infrastructure bool
	verdict        verdict
	held           []byte // lines until the verdict
	heldLines      int
	left           int // lines that held had no room for
}

// renderer renders events as lines. The results may be empty.
type renderer interface {
	event(e *trace.Event, c *call, m *text) []byte  // c is nil for an event without a call
	open(c *call, now time.Time, first bool) []byte // a call that is still open; first: after 200 ms
	more(n int) []byte                              // n more calls are still open
	unwritten(lines int) []byte                     // so many lines before couldn't be written
	summary(s *summary) []byte
}

// summary counts calls.
type summary struct {
	ok, failed, open int
	hidden           int // of gRPC's own services
	lost             trace.Losses
}

// follower is the Sink of a trace: it follows the open calls, filters them, and writes
// lines.
type follower struct {
	out      io.Writer
	render   renderer
	messages *messages
	filter   filter
	hide     bool // the calls of gRPC's own services
	begun    bool // there was an event

	maxHeld, maxAllHeld int // bytes: the lines of a call, and of all, that wait for a filter's verdict

	summarize bool               // print a summary at the end
	end       func(trace.Losses) // called at the end; may be nil
	patience  time.Duration      // how long to wait for the end
	closed    chan struct{}      // closed at the end
	stuck     func()             // called if it is too late

	calls     map[uint64]*call
	stages    []stage
	held      int // bytes in all calls
	buffer    []byte
	summary   summary
	unwritten int  // lines that couldn't be written
	torn      bool // the last line that was written is incomplete
}

// stage is a point in the life of an open call at which it is printed. All calls reach it
// in the order of the queue.
type stage struct {
	delay time.Duration // since the previous stage
	queue []due
}

type due struct {
	at   time.Time
	call *call
}

// newStages returns the stages of a call: it is printed after 200 ms, 10 s, 30 s, and
// then each minute, which the last stage repeats.
func newStages() []stage {
	return []stage{{delay: 200 * time.Millisecond}, {delay: 9800 * time.Millisecond}, {delay: 20 * time.Second}, {delay: time.Minute}}
}

// Event implements trace.Sink.
func (f *follower) Event(e *trace.Event) {
	f.event(e, func() *text { return f.messages.format(context.Background(), e) })
}

// event handles an event whose message format returns.
func (f *follower) event(e *trace.Event, format func() *text) {
	f.begun = true
	switch {
	case e.Type == trace.Lost:
		f.summary.lost.Add(e.Lost)
		f.write(f.render.event(e, nil, nil))
		return
	case e.Call == 0:
		if len(f.filter) == 0 { // filters choose calls
			f.write(f.render.event(e, nil, nil))
		}
		return
	}
	c := f.calls[e.Call]
	if c == nil {
		c = &call{number: e.Call, session: e.Session, method: e.Method, begun: e.Time, last: e.Time, infrastructure: trace.IsInfrastructure(e.Method)}
		f.calls[e.Call] = c
		f.schedule(0, c, e.Time, e.Time)
		if f.hide && c.infrastructure {
			c.verdict = hidden
		}
	}
	if e.Side == trace.Wstun && e.Type == trace.ServerTrailer && c.verdict == hidden && c.infrastructure && f.hide {
		c.verdict = f.filter.decide(c) // the user's own tool has failed, and this is the reason
	}
	m := f.update(c, e, format)
	if c.verdict == hidden {
		f.release(c)
	} else {
		f.print(c, f.render.event(e, c, m))
	}
	if c.ended {
		f.endCall(c)
	}
}

// update applies e to c, and returns its message, nil if it has none or it isn't needed.
func (f *follower) update(c *call, e *trace.Event, format func() *text) (m *text) {
	c.duration = e.Time.Sub(c.begun)
	switch {
	case e.Sent != trace.Count{} || e.Received != trace.Count{}:
		c.sent, c.received = e.Sent, e.Received
	case e.Type == trace.ClientMessage: // printed from events, which have no counts
		c.sent.Messages, c.sent.Bytes = c.sent.Messages+1, c.sent.Bytes+e.Size
	case e.Type == trace.ServerMessage:
		c.received.Messages, c.received.Bytes = c.received.Messages+1, c.received.Bytes+e.Size
	}
	c.ended, c.code = e.IsEnd(), e.Code
	if e.Type == trace.ClientMessage || e.Type == trace.ServerMessage {
		c.last, c.largest = e.Time, max(c.largest, e.Size)
	}
	if f.messages.learned.Learn(e) {
		f.messages.forget()
	}
	if c.verdict != hidden {
		m = format()
	}
	if c.verdict == undecided {
		if m != nil && f.messages.fields {
			c.message = m.value()
		}
		c.verdict = f.filter.decide(c)
		c.message = nil
	}
	return m
}

// print writes a line of c, or holds it until the verdict.
func (f *follower) print(c *call, line []byte) {
	switch {
	case c.verdict == shown:
		if c.heldLines > 0 || c.left > 0 {
			f.write(c.held)
			f.lose(c)
			f.release(c)
		}
		f.write(line)
	case len(line) == 0:
	case len(c.held)+len(line) > f.maxHeld || f.held+len(line) > f.maxAllHeld:
		c.left++
	default:
		c.held = append(c.held, line...)
		c.heldLines++
		f.held += len(line)
	}
}

// lose reports the lines of c that weren't held.
func (f *follower) lose(c *call) {
	if c.left > 0 {
		lost := trace.Losses{Events: uint64(c.left)}
		f.summary.lost.Add(lost)
		f.write(f.render.event(&trace.Event{Type: trace.Lost, Side: trace.Wstun, Time: c.begun.Add(c.duration), Code: trace.NoStatus, Lost: lost}, nil, nil))
	}
}

// release forgets the lines that c holds.
func (f *follower) release(c *call) {
	f.held -= len(c.held)
	c.held, c.heldLines, c.left = nil, 0, 0
}

func (f *follower) endCall(c *call) {
	delete(f.calls, c.number)
	f.release(c)
	switch {
	case c.verdict == shown && c.code == codes.OK:
		f.summary.ok++
	case c.verdict == shown:
		f.summary.failed++
	case f.hide && c.infrastructure:
		f.summary.hidden++
	}
}

// maxReminders is how many calls that are still open are printed at the same time.
const maxReminders = 3

// schedule queues c for a stage, which begins after a time, or from now on.
func (f *follower) schedule(stage int, c *call, now, after time.Time) {
	s := &f.stages[stage]
	at := after.Add(s.delay)
	if at.Before(now) { // as when an old trace is printed
		at = now.Add(s.delay)
	}
	s.queue = append(s.queue, due{at, c})
}

// Flush implements trace.Sink.
func (f *follower) Flush(now time.Time) (next time.Time) {
	for i := range f.stages {
		f.remind(i, now)
		if q := f.stages[i].queue; len(q) > 0 && (next.IsZero() || q[0].at.Before(next)) {
			next = q[0].at
		}
	}
	f.flush()
	return next
}

// flush writes the buffer.
func (f *follower) flush() {
	f.output(f.buffer)
	f.buffer = f.buffer[:0]
}

// output writes lines. If that fails, it counts them, and reports their number before the
// next lines that can be written.
func (f *follower) output(lines []byte) {
	if len(lines) == 0 {
		return
	}
	report := 0
	if f.unwritten > 0 {
		var line []byte
		if f.torn {
			line = append(line, '\n')
		}
		line = append(line, f.render.unwritten(f.unwritten)...)
		lines, report = append(line, lines...), len(line)
	}
	n, err := f.out.Write(lines)
	if n >= report {
		f.unwritten = 0
	}
	if n > 0 {
		f.torn = lines[n-1] != '\n'
	}
	if err != nil {
		f.unwritten += bytes.Count(lines[max(n, report):], []byte("\n"))
	}
}

// remind prints the calls that have reached a stage.
func (f *follower) remind(i int, now time.Time) {
	s, printed, more := &f.stages[i], 0, 0
	n := 0
	for ; n < len(s.queue) && (s.queue[n].call.ended || !s.queue[n].at.After(now)); n++ {
		c := s.queue[n].call
		if c.ended || c.verdict == hidden {
			continue
		}
		f.schedule(min(i+1, len(f.stages)-1), c, now, s.queue[n].at)
		c.duration = now.Sub(c.begun)
		if c.verdict == undecided {
			c.verdict = f.filter.decide(c)
		}
		if c.verdict == shown {
			if i > 0 && printed == maxReminders {
				more++
				continue
			}
			printed++
		}
		f.print(c, f.render.open(c, now, i == 0))
	}
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	if more > 0 {
		f.write(f.render.more(more))
	}
}

// fullBuffer is how many bytes of lines wait at most to be written together.
const fullBuffer = 64 << 10

// write writes lines, perhaps together with later ones.
func (f *follower) write(lines []byte) {
	if len(f.buffer)+len(lines) >= fullBuffer {
		f.flush()
	}
	if len(lines) >= fullBuffer {
		f.output(lines)
	} else {
		f.buffer = append(f.buffer, lines...)
	}
}

// Close implements trace.Sink. It writes the rest, and a summary, unless there was no event:
// a command that can't start has one line to say. It is called after the last event.
func (f *follower) Close() {
	for _, c := range f.calls {
		switch {
		case c.verdict == shown:
			f.summary.open++
		case f.hide && c.infrastructure:
			f.summary.hidden++
		}
	}
	if f.summarize && f.begun {
		f.write(f.render.summary(&f.summary))
	}
	f.flush()
	if f.end != nil {
		f.end(f.summary.lost)
	}
	close(f.closed)
}
