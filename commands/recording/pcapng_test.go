package recording

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// allCalls returns the calls of all connections.
func (c *capture) allCalls(t *testing.T) (calls []*seenCall) {
	t.Helper()
	for _, conn := range c.conns(t) {
		calls = append(calls, conn.calls(t)...)
	}
	return calls
}

// convert returns the lines in pcapng.
func convert(lines []byte) []byte {
	p := NewPcapng("1.0.0")
	return p.Append(p.Start(nil), lines)
}

func TestPcapng(t *testing.T) {
	t.Parallel()
	s := fullSample()
	c := readCapture(t, convert(s.b))
	calls := c.allCalls(t)
	compareCalls(t, calls, s.b)
	if got := calls[0].fields[0].Name; got != ":method" {
		t.Errorf("the first header list begins with %s", got)
	}
	if got, want := c.interfaces, []string{"session 1", "session 2", "session 0"}; !slices.Equal(got, want) {
		t.Errorf("interfaces %q, want %q", got, want)
	}
	if got := c.hosts["10.0.1.2"]; got != "server.session-2" {
		t.Errorf("10.0.1.2 is %q", got)
	}
	if got, want := c.packets[0].at, newSample().at.Add(time.Millisecond); !got.Equal(want) {
		t.Errorf("the first packet is of %v, want %v", got, want)
	}
	for _, want := range []string{
		"this message was sent as 1200 bytes", "its bytes aren't recorded", "its last 1191 bytes aren't recorded",
		"this message was sent as 40 bytes, compressed with gzip", "secrets are removed: secret",
		"session 2, yamux stream 7: TLS", "missing here: 1204 events, 3145728 bytes of messages",
		"wstun answered this call itself", "no side has reset this call: it was cut: session lost: close 1006",
	} {
		if !slices.Contains(c.comments, want) {
			t.Errorf("no comment %q in %q", want, c.comments)
		}
	}
	for _, unwanted := range []string{"missing:", "are missing before"} {
		if slices.ContainsFunc(c.comments, func(text string) bool { return strings.Contains(text, unwanted) }) {
			t.Errorf("comments %q", c.comments)
		}
	}
}

func TestIsPcapng(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "1.0.0", "v1.2.3-0.20260102150405-0123456789ab+dirty"} {
		b := NewPcapng(version).Start(nil)
		if !isPcapng(b) || !isPcapng(b[:pcapngHead]) {
			t.Errorf("version %q: not recognized", version)
		}
		for n := range pcapngHead {
			if isPcapng(b[:n]) {
				t.Errorf("%d bytes are enough", n)
			}
		}
		foreign := bytes.Replace(b, []byte("wstun"), []byte("Wires"), 1)
		if isPcapng(foreign) {
			t.Error("a file of another program is recognized")
		}
	}
	if isPcapng(newSample().b) {
		t.Error("NDJSON is recognized")
	}
}

// Append may be called with any number of lines, also with a buffer that isn't empty.
func TestPcapngPieces(t *testing.T) {
	t.Parallel()
	s := fullSample()
	p := NewPcapng("1.0.0")
	b := p.Start(nil)
	for line := range bytes.Lines(s.b) {
		b = append(b, p.Append([]byte("x"), line)[1:]...)
	}
	if !bytes.Equal(b, convert(s.b)) {
		t.Error("not the same file")
	}
}

// A call is begun again in a new file, and after bytes that weren't written.
func TestPcapngRestart(t *testing.T) {
	t.Parallel()
	s := newSample()
	c := s.call(1, 3, "/demo.v1.Hub/Chat").request(name("a")).header()
	p := NewPcapng("1.0.0")
	p.Append(nil, s.b)
	for _, begin := range []func() []byte{
		func() []byte { return p.Start(nil) },
		func() []byte {
			b := p.Append(p.Start(nil), s.b)
			p.restart()
			return b
		},
	} {
		s.b = nil
		c.response(name("b"))
		got := readCapture(t, p.Append(begin(), s.b))
		calls := got.allCalls(t)
		if got.sections != len(calls) {
			t.Errorf("%d sections", got.sections)
		}
		if last := calls[len(calls)-1]; last.String() != "/demo.v1.Hub/Chat [] [3] " || last.stream != 1 {
			t.Errorf("got %v", last)
		}
		want := []string{
			"the beginning of this call is missing: this header list is made up",
			"the beginning of this response is missing: this header list is made up",
		}
		if !slices.Equal(got.comments, want) && len(calls) == 1 {
			t.Errorf("comments %q", got.comments)
		}
	}
}

// The calls of two processes have the same numbers.
func TestPcapngProcesses(t *testing.T) {
	t.Parallel()
	s := newSample()
	s.call(1, 3, "/demo.v1.Hub/Chat").request(name("a"))
	c := readCapture(t, convert(slices.Concat(s.b, s.b)))
	if calls := c.allCalls(t); len(calls) != 2 || calls[0].String() != calls[1].String() {
		t.Errorf("calls %v", calls)
	}
	if len(c.comments) > 0 {
		t.Errorf("comments %q", c.comments)
	}
}

func TestPcapngSequence(t *testing.T) {
	t.Parallel()
	s := newSample()
	c := s.call(1, 3, "/demo.v1.Hub/Chat").request(name("a")).header()
	c.Seq++
	c.response(name("b"))
	got := readCapture(t, convert(s.b))
	if want := []string{"events of this call are missing before this one"}; !slices.Equal(got.comments, want) {
		t.Errorf("comments %q, want %q", got.comments, want)
	}
}

// A session may have more connections than there are ports, and a connection may end
// without an event.
func TestPcapngConnections(t *testing.T) {
	t.Parallel()
	s := newSample()
	open := s.call(1, 1, "/demo.v1.Hub/Open")
	p := NewPcapng("1.0.0")
	b := p.Append(p.Start(nil), s.b)
	// As if there had been many connections.
	p.sessions[1].port = lastPort - 100
	p.maxConns = 150
	const conns = 200
	for i := range conns {
		s.b = s.b[:0]
		s.call(1, uint32(2*i+3), "/demo.v1.Hub/Unary").end(codes.OK, "", nil)
		b = p.Append(b, s.b)
	}
	s.b = s.b[:0]
	open.end(codes.OK, "", nil)
	b = p.Append(b, s.b)
	c := readCapture(t, b)
	seen := map[string]bool{}
	for _, conn := range c.conns(t) {
		seen[conn.name] = true
		if calls := conn.calls(t); len(calls) != 1 || calls[0].end != "0 " {
			t.Fatalf("calls %v", calls)
		}
	}
	if len(seen) != conns+1 {
		t.Errorf("%d connections, want %d", len(seen), conns+1)
	}
	if len(p.conns) > 100 || len(p.calls) != 0 || p.maxConns != maxIdleConns {
		t.Errorf("%d connections and %d calls are in memory", len(p.conns), len(p.calls))
	}
	if got, want := c.hosts["10.0.1.1"], "client-2.session-1"; got != want {
		t.Errorf("the second client is %q, want %q", got, want)
	}
}

// The memory is bounded even if calls, or sessions, never end.
func TestPcapngMemory(t *testing.T) {
	t.Parallel()
	s := newSample()
	p := NewPcapng("1.0.0")
	p.maxConns = 10
	for i := range 15 {
		s.b = s.b[:0]
		s.call(1, 3, "/demo.v1.Hub/Open")
		s.line(s.event(trace.Event{Type: trace.Other, Session: uint64(i), Message: "TLS"}))
		p.Append(nil, s.b)
	}
	for i := range uint64(maxOpenCalls) {
		p.calls[1<<32+i] = &openCall{}
	}
	s.b = s.b[:0]
	s.call(1, 3, "/demo.v1.Hub/Open")
	p.Append(nil, s.b)
	if len(p.calls) > maxOpenCalls || len(p.sessions) > 10 {
		t.Errorf("%d calls, %d sessions and %d connections are in memory", len(p.calls), len(p.sessions), len(p.conns))
	}
}

func TestPcapngLastStream(t *testing.T) {
	t.Parallel()
	s := newSample()
	p := NewPcapng("1.0.0")
	b := p.Append(p.Start(nil), s.b)
	for i := range 3 {
		s.b = s.b[:0]
		s.call(1, 3, "/demo.v1.Hub/Unary").request(name("a"))
		if i == 1 {
			p.conns[connKey{1, 3}].next = maxStream
		}
		b = p.Append(b, s.b)
	}
	s.b = s.b[:0]
	for number := range uint64(3) {
		s.calls[number+1].end(codes.OK, "", nil)
	}
	conns := readCapture(t, p.Append(b, s.b)).conns(t)
	if len(conns) != 2 {
		t.Fatalf("%d connections", len(conns))
	}
	var streams []uint32
	for _, conn := range conns {
		for _, call := range conn.calls(t) {
			streams = append(streams, call.stream)
		}
	}
	if want := []uint32{1, maxStream, 1}; !slices.Equal(streams, want) {
		t.Errorf("streams %d, want %d", streams, want)
	}
}

// The peer's text is escaped.
func TestPcapngText(t *testing.T) {
	t.Parallel()
	s := newSample()
	s.call(1, 3, "/x\r\n\x00\x1b[2J").add(trace.ServerHeader, func(l *Line) {
		l.Metadata = map[string][]string{
			"content-type": {trace.Redacted}, "": {"x"}, ":path": {"/y"}, "x\r\ny": {"a\r\nb", "\x00"}, "long": {strings.Repeat("x", 100_000)},
		}
	}).add(trace.Cut, func(l *Line) { l.Reason = strings.Repeat("\nä", 10_000) })
	s.line(s.event(trace.Event{Type: trace.GoAway, Side: trace.Wstun, Message: strings.Repeat("x", 100_000)}))
	c := readCapture(t, convert(s.b))
	calls := c.allCalls(t)
	if len(calls) != 1 || calls[0].path != `/x\r\n\x00\x1b[2J` {
		t.Fatalf("calls %v", calls)
	}
	got := fmt.Sprint(calls[0].fields[len(calls[0].fields)-5:])
	want := strings.ReplaceAll(`[header field ":status" = "200" header field "content-type" = "application/grpc" header field "long" = "LONG" `+
		`header field "x\\r\\ny" = "a\\r\\nb" header field "x\\r\\ny" = "\\x00"]`, "LONG", strings.Repeat("x", 100_000))
	if got != want {
		t.Errorf("header list %s, want %s", got, want)
	}
	for _, text := range c.comments {
		if len(text) > maxComment {
			t.Errorf("a comment of %d bytes", len(text))
		}
	}
}

// A response that isn't gRPC has its own status.
func TestPcapngHTTPStatus(t *testing.T) {
	t.Parallel()
	s := newSample()
	html := map[string][]string{"content-type": {"text/html"}}
	s.call(1, 3, "/a").add(trace.ServerTrailer, func(l *Line) { l.Status, l.HTTP, l.Metadata = nil, "404", html })
	s.call(1, 3, "/b").add(trace.ServerHeader, func(l *Line) { l.Metadata = html }).cancel(trace.Client, http2.ErrCodeCancel)
	calls := readCapture(t, convert(s.b)).allCalls(t)
	if got, want := fmt.Sprint(calls), "[/a [] [] 404  /b [] [] reset 8 ]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := calls[0].fields[len(calls[0].fields)-1].Value; got != "text/html" {
		t.Errorf("content type %q", got)
	}
}

func TestEscapeMessage(t *testing.T) {
	t.Parallel()
	if got, want := escapeMessage("a%b ~\n\x7fä"), "a%25b ~%0A%7F%C3%A4"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzPcapng(f *testing.F) {
	for line := range bytes.Lines(fullSample().b) {
		if len(line) < 1000 {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		p := NewPcapng("")
		b := p.Append(p.Start(nil), lines)
		b = p.Append(b, lines)
		p.restart()
		b = p.Append(b, lines)
		readCapture(t, b).allCalls(t)
	})
}
