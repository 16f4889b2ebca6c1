package forward

import (
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
)

// rawFrame returns a frame with a payload of the given length.
func rawFrame(kind http2.FrameType, flags http2.Flags, stream uint32, payload int) []byte {
	header := []byte{
		byte(payload >> 16), byte(payload >> 8), byte(payload), byte(kind), byte(flags),
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream),
	}
	return append(header, make([]byte, payload)...)
}

// newHTTP2Calls returns the calls of a connection on which both sides have sent their
// preface.
func newHTTP2Calls() *calls {
	c := newCalls(&rpc.Counts{})
	c.scan(&c.requests, append([]byte(http2.ClientPreface), rawFrame(http2.FrameSettings, 0, 0, 6)...))
	c.scan(&c.responses, rawFrame(http2.FrameSettings, 0, 0, 0))
	return c
}

// Flags of HEADERS and DATA.
const (
	endStream  = http2.FlagHeadersEndStream
	endHeaders = http2.FlagHeadersEndHeaders
	padded     = http2.FlagDataPadded
)

func TestCalls(t *testing.T) {
	t.Parallel()
	type step struct {
		fromClient bool
		kind       http2.FrameType
		flags      http2.Flags
		stream     uint32
	}
	const client, server = true, false
	const data, headers, reset = http2.FrameData, http2.FrameHeaders, http2.FrameRSTStream
	for _, test := range []struct {
		name  string
		steps []step
		open  int
	}{
		{"nothing", nil, 0},
		{"begun", []step{{client, headers, endHeaders, 1}}, 1},
		{"client has ended its side", []step{{client, headers, endHeaders | endStream, 1}}, 1},
		{"ended with trailers", []step{{client, headers, endHeaders, 1}, {client, data, endStream, 1}, {server, headers, endHeaders, 1}, {server, data, 0, 1}, {server, headers, endStream | endHeaders, 1}}, 0},
		{"trailers only", []step{{client, headers, endHeaders, 1}, {server, headers, endStream | endHeaders, 1}}, 0},
		{"ended with data", []step{{client, headers, endHeaders, 1}, {server, data, endStream, 1}}, 0},
		{"ended with padded data", []step{{client, headers, endHeaders, 1}, {server, data, endStream | padded, 1}}, 0},
		{"reset by the client", []step{{client, headers, endHeaders, 1}, {client, reset, 0, 1}}, 0},
		{"reset by the server", []step{{client, headers, endHeaders, 1}, {server, reset, 0, 1}}, 0},
		{"client trailers after the end", []step{{client, headers, endHeaders, 1}, {server, headers, endStream | endHeaders, 1}, {client, headers, endHeaders | endStream, 1}}, 0},
		{"one of two", []step{{client, headers, endHeaders, 1}, {client, headers, endHeaders, 3}, {server, headers, endStream | endHeaders, 1}}, 1},
		{"flags of other frames", []step{{client, headers, endHeaders, 1}, {server, http2.FramePing, endStream, 0}, {server, http2.FrameWindowUpdate, endStream, 1}}, 1},
		{"in a header block", []step{{client, headers, endHeaders, 1}, {server, headers, endStream, 1}, {server, http2.FrameContinuation, 0, 1}}, 1},
		{"after a header block", []step{{client, headers, endHeaders, 1}, {server, headers, endStream, 1}, {server, http2.FrameContinuation, 0, 1}, {server, http2.FrameContinuation, endHeaders, 1}}, 0},
		{"pushed", []step{{server, http2.FramePushPromise, endHeaders, 1}, {server, headers, endHeaders, 2}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newHTTP2Calls()
			for i, s := range test.steps {
				scanner := &c.responses
				if s.fromClient {
					scanner = &c.requests
				}
				c.scan(scanner, rawFrame(s.kind, s.flags, s.stream, (i+1)*100))
			}
			if got := len(c.open); got != test.open || c.untracked {
				t.Errorf("%d open, untracked %v, want %d, false", got, c.untracked, test.open)
			}
		})
	}
}

// A call ends when the client has received all of the last frame.
func TestCallsEndWithTheWholeFrame(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	c.scan(&c.requests, rawFrame(http2.FrameHeaders, endStream|endHeaders, 1, 0))
	last := rawFrame(http2.FrameHeaders, endStream|endHeaders, 1, 18)
	for i := range last {
		if len(c.open) != 1 {
			t.Errorf("after %d bytes of %d: %d open", i, len(last), len(c.open))
		}
		c.scan(&c.responses, last[i:i+1])
	}
	if len(c.open) != 0 {
		t.Errorf("after the last byte: %d open", len(c.open))
	}
}

// Connections that aren't HTTP/2, and malformed ones, aren't tracked.
func TestCallsStopTracking(t *testing.T) {
	t.Parallel()
	c := newCalls(&rpc.Counts{})
	c.scan(&c.requests, []byte("GET / HTTP/1.1\r\n"))
	c.scan(&c.requests, []byte("\r\n"))
	if !c.untracked {
		t.Error("untracked = false, want true")
	}
}

// A malformed frame of the client doesn't hide the end of the calls before it.
func TestCallsAfterMalformedFrame(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	c.scan(&c.requests, rawFrame(http2.FrameHeaders, endHeaders, 1, 0))
	c.scan(&c.requests, rawFrame(http2.FrameContinuation, endHeaders, 1, 0)) // without HEADERS
	idle := false
	c.whenIdle(func() { idle = true })
	if c.untracked || len(c.open) != 1 || idle {
		t.Errorf("untracked %v, %d open, idle %v, want false, 1, false", c.untracked, len(c.open), idle)
	}
	c.scan(&c.responses, rawFrame(http2.FrameHeaders, endHeaders|endStream, 1, 0))
	if len(c.open) != 0 || !idle {
		t.Errorf("%d open, idle %v, want 0, true", len(c.open), idle)
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	for i := range uint32(maxOpenCalls) {
		c.scan(&c.requests, rawFrame(http2.FrameHeaders, endHeaders, 2*i+1, 0))
	}
	if len(c.open) != maxOpenCalls || c.untracked {
		t.Fatalf("%d open, untracked %v, want %d, false", len(c.open), c.untracked, maxOpenCalls)
	}
	for i := range uint32(100) {
		c.scan(&c.requests, rawFrame(http2.FrameHeaders, endHeaders, 2*(maxOpenCalls+i)+1, 0))
	}
	if len(c.open) != 0 || !c.untracked {
		t.Errorf("%d open, untracked %v, want 0, true", len(c.open), c.untracked)
	}
	c.scan(&c.responses, rawFrame(http2.FrameHeaders, endStream|endHeaders, 1, 0))
}

func TestCallsWhenIdle(t *testing.T) {
	t.Parallel()
	c := newCalls(&rpc.Counts{})
	idle := 0
	c.begin(1)
	c.whenIdle(func() { idle++ })
	c.begin(3)
	c.end(1, codes.OK)
	if idle != 0 {
		t.Error("whenIdle called its function while a call was open")
	}
	c.end(3, codes.OK)
	c.begin(5)
	c.end(5, codes.OK)
	if idle != 1 {
		t.Errorf("whenIdle called its function %d times, want once", idle)
	}
	c.whenIdle(func() { idle++ })
	if idle != 2 {
		t.Error("whenIdle didn't call its function at once with no call open")
	}
	c.update(c.stopTracking)
	c.whenIdle(func() { t.Error("whenIdle called its function on a connection that isn't tracked") })
}

// takeBetweenMessages works with padding, CONTINUATION frames and chunks of any size.
func TestCallsBetweenMessages(t *testing.T) {
	t.Parallel()
	message := "\x00\x00\x00\x00\x03abc"
	for _, test := range []struct {
		name     string
		response string
		between  bool
	}{
		{"nothing", "", true},
		{"headers", string(rawFrame(http2.FrameHeaders, endHeaders, 1, 5)), true},
		{"a header block in two frames", string(rawFrame(http2.FrameHeaders, 0, 1, 5)) + string(rawFrame(http2.FrameContinuation, endHeaders, 1, 5)), true},
		{"a message", dataFrame(0, message), true},
		{"a padded message", dataFrame(padded, "\x04"+message+"\x00\x00\x00\x00"), true},
		{"a message in two padded frames", dataFrame(padded, "\x02"+message[:3]+"\x00\x00") + dataFrame(padded, "\x00"+message[3:]), true},
		{"a part of a message", dataFrame(0, message+message[:7]), false},
		{"a part of a padded message", dataFrame(padded, "\x04"+message[:6]+"\x00\x00\x00\x00"), false},
		{"a part of a prefix", dataFrame(padded, "\x01"+message[:2]+"\x00"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 1000} {
				c := newHTTP2Calls()
				c.scan(&c.requests, rawFrame(http2.FrameHeaders, endHeaders, 1, 0))
				for rest := []byte(test.response); len(rest) > 0; {
					n := min(size, len(rest))
					c.scan(&c.responses, rest[:n])
					rest = rest[n:]
				}
				if got := len(c.takeBetweenMessages()) == 1; got != test.between || c.untracked {
					t.Errorf("in chunks of %d: between messages %v, untracked %v, want %v, false", size, got, c.untracked, test.between)
				}
			}
		})
	}
}

// dataFrame returns a DATA frame of stream 1.
func dataFrame(flags http2.Flags, payload string) string {
	return string(rawFrame(http2.FrameData, flags, 1, len(payload))[:h2.HeaderLen]) + payload
}
