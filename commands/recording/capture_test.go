package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/trace"
)

// capture is a file in pcapng.
type capture struct {
	sections   int
	interfaces []string // of the last section
	hosts      map[string]string
	packets    []capturedPacket
	comments   []string
}

type capturedPacket struct {
	iface    string
	at       time.Time
	data     []byte
	comments []string
}

// capturedConn is a TCP connection.
type capturedConn struct {
	name string
	sent [2][]byte // by the client and the server
	next [2]uint32 // sequence numbers
}

// readCapture reads a file. It fails if the sequence of blocks is malformed.
func readCapture(t *testing.T, b []byte) *capture {
	t.Helper()
	c := &capture{hosts: map[string]string{}}
	for len(b) > 0 {
		if len(b) < 12 || int(le.Uint32(b[4:])) > len(b) || le.Uint32(b[4:]) < 12 || le.Uint32(b[4:])%4 != 0 {
			t.Fatalf("a malformed block: % x", b[:min(len(b), 64)])
		}
		n := le.Uint32(b[4:])
		if le.Uint32(b[n-4:n]) != n {
			t.Fatalf("a block of %d bytes ends with another length", n)
		}
		c.block(t, le.Uint32(b), b[8:n-4])
		b = b[n:]
	}
	return c
}

func (c *capture) block(t *testing.T, kind uint32, body []byte) {
	t.Helper()
	switch kind {
	case sectionBlock:
		c.sections++
		c.interfaces = nil
		readOptions(t, body[16:])
	case interfaceBlock:
		options := readOptions(t, body[8:])
		if le.Uint16(body) != linkTypeRaw || options[resolutionOption][0] != "\x09" {
			t.Fatalf("interface % x", body)
		}
		c.interfaces = append(c.interfaces, options[nameOption][0])
	case namesBlock:
		for record := range readRecords(t, body) {
			c.hosts[net.IP(record[:4]).String()] = strings.TrimSuffix(record[4:], "\x00")
		}
	case packetBlock:
		length := le.Uint32(body[12:])
		p := capturedPacket{
			iface: c.interfaces[le.Uint32(body)], at: time.Unix(0, int64(le.Uint32(body[4:]))<<32|int64(le.Uint32(body[8:]))),
			data: body[20 : 20+length],
		}
		if options := body[20+(length+3)&^3:]; len(options) > 0 {
			p.comments = readOptions(t, options)[commentOption]
			c.comments = append(c.comments, p.comments...)
		}
		if int(be.Uint16(p.data[2:])) != len(p.data) || length != le.Uint32(body[16:]) {
			t.Fatalf("a packet of %d bytes: % x", length, body[:min(len(body), 64)])
		}
		c.packets = append(c.packets, p)
	default:
		t.Fatalf("block of type %d", kind)
	}
}

func readOptions(t *testing.T, b []byte) map[uint16][]string {
	t.Helper()
	options := map[uint16][]string{}
	for value, code := range readRecords(t, b) {
		options[code] = append(options[code], value)
	}
	return options
}

// readRecords returns the values and codes of options, or of names.
func readRecords(t *testing.T, b []byte) func(func(string, uint16) bool) {
	t.Helper()
	return func(yield func(string, uint16) bool) {
		for len(b) >= 4 {
			code, n := le.Uint16(b), int(le.Uint16(b[2:]))
			if code == endOption {
				if len(b) != 4 || n != 0 {
					t.Errorf("% x after the last option", b)
				}
				return
			}
			if !yield(string(b[4:4+n]), code) {
				return
			}
			b = b[4+(n+3)&^3:]
		}
		t.Error("no end of options")
	}
}

// conns returns the TCP connections, in order. It fails if sequence numbers don't fit.
func (c *capture) conns(t *testing.T) []*capturedConn {
	t.Helper()
	var all []*capturedConn
	byName := map[string]*capturedConn{}
	for _, p := range c.packets {
		if p.data[9] != tcpProtocol {
			continue
		}
		tcp := p.data[ipLength:]
		source := fmt.Sprintf("%v:%d", p.data[12:16], be.Uint16(tcp))
		target := fmt.Sprintf("%v:%d", p.data[16:20], be.Uint16(tcp[2:]))
		from, name := trace.Client, source+" "+target
		if be.Uint16(tcp) == serverPort {
			from, name = trace.Server, target+" "+source
		}
		if tcp[13] == synFlag {
			byName[name] = &capturedConn{name: name}
			all = append(all, byName[name])
		}
		conn := byName[name]
		if conn == nil {
			t.Fatalf("a packet of connection %s, which hasn't begun", name)
		}
		if tcp[13]&synFlag != 0 {
			conn.next[from] = be.Uint32(tcp[4:]) + 1
			continue
		}
		payload := tcp[tcp[12]>>4*4:]
		if be.Uint32(tcp[4:]) != conn.next[from] || be.Uint32(tcp[8:]) != conn.next[1-from] {
			t.Fatalf("connection %s: wrong sequence numbers: % x", name, tcp[:20])
		}
		conn.sent[from] = append(conn.sent[from], payload...)
		conn.next[from] += uint32(len(payload))
	}
	return all
}

// seenCall is a call in a capture.
type seenCall struct {
	stream   uint32
	path     string
	messages [2][]int // lengths
	end      string
	fields   []hpack.HeaderField
	rest     [2][]byte
}

func (c *seenCall) String() string {
	return fmt.Sprint(c.path, " ", c.messages[0], " ", c.messages[1], " ", c.end)
}

// header adds the fields of a header list.
func (c *seenCall) header(fields []hpack.HeaderField) {
	c.fields = append(c.fields, fields...)
	for _, f := range fields {
		switch {
		case f.Name == ":path":
			c.path = f.Value
		case f.Name == "grpc-status", f.Name == "grpc-message", f.Name == DetailsKey, f.Name == ":status" && f.Value != "200":
			c.end += f.Value + " "
		}
	}
}

// calls returns the calls on a connection, in order.
func (conn *capturedConn) calls(t *testing.T) []*seenCall {
	t.Helper()
	byStream := map[uint32]*seenCall{}
	for from := range conn.sent {
		b := conn.sent[from]
		if from == int(trace.Client) {
			var ok bool
			if b, ok = bytes.CutPrefix(b, []byte(http2.ClientPreface)); !ok {
				t.Fatalf("connection %s begins with %q", conn.name, b[:min(len(b), 24)])
			}
		}
		framer, decoder := http2.NewFramer(nil, bytes.NewReader(b)), hpack.NewDecoder(4096, nil)
		var block []byte
		for {
			f, err := framer.ReadFrame()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			id := f.Header().StreamID
			if byStream[id] == nil && id != 0 {
				byStream[id] = &seenCall{stream: id}
			}
			call := byStream[id]
			switch f := f.(type) {
			case *http2.HeadersFrame:
				block = bytes.Clone(f.HeaderBlockFragment())
			case *http2.ContinuationFrame:
				block = append(block, f.HeaderBlockFragment()...)
			case *http2.DataFrame:
				call.data(from, f.Data())
			case *http2.RSTStreamFrame:
				call.end += fmt.Sprint("reset ", uint32(f.ErrCode), " ")
			}
			if kind := f.Header().Type; (kind == http2.FrameHeaders || kind == http2.FrameContinuation) && f.Header().Flags.Has(http2.FlagHeadersEndHeaders) {
				fields, err := decoder.DecodeFull(block)
				if err != nil {
					t.Fatal(err)
				}
				call.header(fields)
			}
		}
	}
	var calls []*seenCall
	for _, call := range byStream {
		calls = append(calls, call)
	}
	slices.SortFunc(calls, func(a, b *seenCall) int { return int(a.stream) - int(b.stream) })
	return calls
}

// data adds the bytes of a DATA frame.
func (c *seenCall) data(from int, p []byte) {
	rest := append(c.rest[from], p...)
	for len(rest) >= 5 && int(be.Uint32(rest[1:])) <= len(rest)-5 {
		n := int(be.Uint32(rest[1:]))
		c.messages[from] = append(c.messages[from], n)
		rest = rest[5+n:]
	}
	c.rest[from] = rest
}

// recordedCalls returns the calls of a recording as they should be in a capture.
func recordedCalls(t *testing.T, lines []byte) (calls []*seenCall) {
	t.Helper()
	rec, err := Read(bytes.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rec.Calls {
		seen := &seenCall{path: c.Method()}
		for _, e := range c.Events {
			switch {
			case e.Type == trace.ClientMessage, e.Type == trace.ServerMessage:
				seen.messages[e.Side] = append(seen.messages[e.Side], len(e.Data))
			case e.Type == trace.Cancel:
				seen.end = fmt.Sprint("reset ", uint32(e.HTTP2Code), " ")
			case e.Type == trace.Cut:
				seen.end = "reset 10 "
			case e.Type == trace.ServerTrailer && e.Code == trace.NoStatus:
				seen.end = e.HTTPStatus + " "
			case e.Type == trace.ServerTrailer:
				seen.end = fmt.Sprint(uint32(e.Code), " ")
				if e.Message != "" {
					seen.end += escapeMessage(e.Message) + " "
				}
				for _, f := range e.Metadata {
					if f.Name == DetailsKey {
						seen.end += f.Value + " "
					}
				}
			}
		}
		calls = append(calls, seen)
	}
	return calls
}

// compareCalls fails unless got are the calls of a recording, in any order.
func compareCalls(t *testing.T, got []*seenCall, lines []byte) {
	t.Helper()
	texts := func(calls []*seenCall) (texts []string) {
		for _, c := range calls {
			texts = append(texts, c.String())
		}
		slices.Sort(texts)
		return texts
	}
	g, w := texts(got), texts(recordedCalls(t, lines))
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("got:\n%s\nwant:\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
		}
	}
}
