package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// recording has the bytes of a WebSocket after the handshake, in the order in which the
// dialing end sent and received them.
type recording struct {
	mu     sync.Mutex
	begun  bool
	pieces []sentPiece
}

type sentPiece struct {
	dialing bool // sent by the dialing side
	p       []byte
}

func (r *recording) add(dialing bool, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun && len(p) > 0 {
		r.pieces = append(r.pieces, sentPiece{dialing, bytes.Clone(p)})
	}
}

// recordedConn is the connection of the dialing end.
type recordedConn struct {
	net.Conn
	recording *recording
}

func (c recordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.recording.add(false, p[:n])
	return n, err
}

func (c recordedConn) Write(p []byte) (int, error) {
	c.recording.add(true, p)
	return c.Conn.Write(p)
}

// recordedWebSockets is tunneltest.WebSockets with a recording.
func recordedWebSockets(t *testing.T) (dialed, accepted *websocket.Conn, r *recording) {
	t.Helper()
	conns := make(chan *websocket.Conn, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		conns <- conn
	}))
	defer srv.Close()
	r = &recording{}
	dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return recordedConn{conn, r}, err
	}}
	dialed, response, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	r.begun = true
	return dialed, <-conns, r
}

// feed passes the pieces to a Relay, cut into parts of at most the length that size
// returns, and returns the events.
func feed(t *testing.T, pieces []sentPiece, size func() int) (events []Event, reason string) {
	t.Helper()
	tracer, eventsOf := newTracer(t, 0, Output{Body: -1})
	r := tracer.Relay(1)
	for _, piece := range pieces {
		for part := range slices.Values(cut(piece.p, size)) {
			before := bytes.Clone(part)
			if piece.dialing {
				r.Dialing(part)
			} else {
				r.Accepting(part)
			}
			if !bytes.Equal(part, before) {
				t.Fatal("the relay has changed the bytes")
			}
			clear(part) // the relay must not use them later
		}
	}
	r.Lost("lost")
	reason = r.End()
	return eventsOf(), reason
}

// cut returns copies of the parts of p.
func cut(p []byte, size func() int) (parts [][]byte) {
	for len(p) > 0 {
		n := min(len(p), size())
		parts = append(parts, bytes.Clone(p[:n]))
		p = p[n:]
	}
	return parts
}

// byCall returns the events of each call that one side caused, without numbers.
func byCall(t *testing.T, side Side, events []Event) (calls [][]string) {
	t.Helper()
	for _, e := range events {
		switch e.Type {
		case Lost, Other:
			t.Errorf("%s", e.String())
		case ClientHeader:
			calls = append(calls, nil)
		}
		if e.Call > 0 {
			calls[e.Call-1] = append(calls[e.Call-1], sentBy(side, []Event{e})...)
		}
	}
	return calls
}

// A Relay sees the same calls in the bytes of a session as the ends, however they are cut,
// and whichever end opens the streams.
func TestRelay(t *testing.T) {
	t.Parallel()
	for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
		t.Run(role.String(), func(t *testing.T) {
			t.Parallel()
			dialed, accepted, recorded := recordedWebSockets(t)
			tr := newTracedOn(t, role, dialed, accepted)
			ctx := tunneltest.Soon(t)
			for _, req := range []*testpb.SimpleRequest{
				{Payload: payload("hello")},
				{Payload: payload(strings.Repeat("x", 300_000))},
				{Payload: payload("details"), ResponseStatus: &testpb.EchoStatus{Code: 5, Message: "nö"}},
			} {
				_, _ = tr.client.UnaryCall(ctx, req)
			}
			stream, err := tr.client.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload("a")}); err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			tr.close()
			want := tr.events[Client]()
			rnd := rand.New(rand.NewPCG(1, 1))
			for name, size := range map[string]func() int{
				"whole": func() int { return 1 << 30 }, "1 to 7": func() int { return 1 + rnd.IntN(7) }, "up to 5000": func() int { return 1 + rnd.IntN(5000) },
			} {
				got, reason := feed(t, recorded.pieces, size)
				if !strings.HasPrefix(reason, "close 1000") {
					t.Errorf("%s: the session ended because %s", name, reason)
				}
				for _, side := range []Side{Client, Server} {
					if got, want := byCall(t, side, got), byCall(t, side, want); len(want) != 4 || !slices.EqualFunc(got, want, slices.Equal) {
						t.Errorf("%s: by the %s\ngot  %q\nwant %q", name, side, got, want)
					}
				}
			}
		})
	}
}

// wsFrame returns a final frame, with a mask if one is given.
func wsFrame(first byte, masked bool, p []byte) []byte {
	var b []byte
	switch n := len(p); {
	case n < 126:
		b = []byte{first, byte(n)}
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
	default:
		b = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0) // a mask that changes nothing
	}
	return append(b, p...)
}

// yamuxFrame returns the header of a frame, and the body of a Data frame.
func yamuxFrame(kind byte, flags uint16, stream uint32, body string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
}

const (
	syn, fin, rst = 1, 4, 8 // flags of yamux
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)

// The memory of a Relay is bounded, and returned, whatever the peers send.
func TestRelayMemory(t *testing.T) {
	t.Parallel()
	const memory = 1 << 20
	for name, frames := range map[string]func(i uint32) []byte{
		"SYN":             func(i uint32) []byte { return yamuxFrame(1, syn, i, "") },
		"SYN with data":   func(i uint32) []byte { return yamuxFrame(0, syn, i, preface) },
		"other data":      func(i uint32) []byte { return yamuxFrame(0, syn, i, "SSH-2.0") },
		"unknown streams": func(i uint32) []byte { return yamuxFrame(0, 0, i, preface) },
		"SYN, FIN, SYN":   func(i uint32) []byte { return append(yamuxFrame(1, syn|fin, i, ""), yamuxFrame(1, syn, i, "")...) },
		"SYN, RST":        func(i uint32) []byte { return yamuxFrame(0, syn|rst, i, preface) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, events := newTracer(t, memory, Output{})
			relays := []*Relay{tracer.Relay(1), tracer.Relay(2)}
			for i := range uint32(20_000) {
				for _, r := range relays {
					r.Dialing(wsFrame(0x82, true, frames(i)))
					r.Accepting(wsFrame(0x82, false, yamuxFrame(0, 0, i, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")))
				}
				if used := tracer.used.Load(); used > memory {
					t.Fatalf("%d bytes used, want at most %d", used, memory)
				}
			}
			if n := len(relays[0].streams); n > memory/streamMemory {
				t.Errorf("%d streams are followed", n)
			}
			for _, r := range relays {
				r.End()
				r.Dialing(wsFrame(0x82, true, frames(1))) // too late
			}
			if n := len(relays[0].streams); n != 0 {
				t.Errorf("%d streams after the end", n)
			}
			var lost uint64
			for _, e := range events() {
				lost += e.Lost.Conns
			}
			if isFull := strings.HasPrefix(name, "SYN") && name != "SYN, RST"; isFull && lost == 0 {
				t.Error("no event says that connections were lost")
			}
		})
	}
}

// Sessions with something else are named once, and the reason of their end is still known.
func TestRelayOther(t *testing.T) {
	t.Parallel()
	closing := wsFrame(0x88, false, []byte("\x0f\xa1bye"))
	for name, test := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"text":       {[][]byte{wsFrame(0x81, true, []byte("hello"))}, "text messages: not yamux"},
		"compressed": {[][]byte{wsFrame(0xc2, true, make([]byte, 70_000)), wsFrame(0xc0, true, []byte("more")), wsFrame(0x82, true, []byte("x"))}, "compressed WebSocket messages: not decoded"},
		"not yamux":  {[][]byte{wsFrame(0x82, true, []byte("hello, this is something else"))}, "not yamux"},
		"nothing":    {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 1 << 20} {
				var pieces []sentPiece
				for _, frame := range test.frames {
					pieces = append(pieces, sentPiece{true, frame}, sentPiece{true, frame})
				}
				events, reason := feed(t, append(pieces, sentPiece{false, closing}), func() int { return size })
				if reason != "close 4001: bye, from the accepting side" {
					t.Errorf("the session ended because %s", reason)
				}
				var got []string
				for _, e := range events {
					got = append(got, e.Message)
				}
				if want := strings.Fields(strings.ReplaceAll(test.want, " ", "_")); strings.ReplaceAll(strings.Join(got, "|"), " ", "_") != strings.Join(want, "|") {
					t.Errorf("events %q, want %q", got, test.want)
				}
			}
		})
	}
	// A frame that isn't WebSocket's ends the search for Close frames, too.
	events, reason := feed(t, []sentPiece{{true, []byte("\x83\x01x")}, {true, closing}}, func() int { return 1 })
	if reason != "lost" || len(events) != 1 || events[0].Message != "a malformed WebSocket frame" {
		t.Errorf("malformed frame: reason %q, events %v", reason, events)
	}
}

// Without a Tracer, a Relay only knows why the session ended.
func TestRelayWithoutTracer(t *testing.T) {
	t.Parallel()
	r := (*Tracer)(nil).Relay(1)
	r.Dialing(wsFrame(0x81, true, []byte("text")))
	r.Dialing(wsFrame(0xc2, true, []byte("compressed")))
	r.Accepting([]byte("\x83malformed"))
	r.Dialing(wsFrame(0x88, true, []byte{0x03, 0xe8}))
	r.Lost("later")
	if reason := r.End(); reason != "close 1000, from the dialing side" {
		t.Errorf("End() = %q", reason)
	}
}

// A panic of the decoder ends the trace of the session, and nothing else.
func TestRelayPanic(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	r := tracer.Relay(1)
	r.Dialing(wsFrame(0x82, true, yamuxFrame(0, syn, 1, preface)))
	var none map[uint32]bool
	r.dialing.yamux.Open = func(stream uint32) { none[stream] = true }
	r.Dialing(wsFrame(0x82, true, yamuxFrame(0, syn, 3, preface)))
	r.Dialing(wsFrame(0x82, true, yamuxFrame(0, syn, 5, preface)))
	r.End()
	if got := events(); len(got) != 1 || !strings.Contains(got[0].Message, "a bug of wstun ended the trace of this session: assignment to entry in nil map") {
		t.Errorf("events %v", got)
	}
}

// Both directions, interleaved: each piece begins with a byte whose lowest bit is the
// direction, and the others the length.
func FuzzRelay(f *testing.F) {
	join := func(pieces ...[]byte) (all []byte) {
		for i, p := range pieces {
			for part := range slices.Chunk(p, 100) {
				all = append(append(all, byte(len(part)<<1|i&1)), part...)
			}
		}
		return all
	}
	request := preface + "\x00\x00\x06\x01\x04\x00\x00\x00\x01\x83\x87\x44\x02/x\x00\x00\x06\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x01a"
	response := "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"
	f.Add(join(wsFrame(0x82, true, yamuxFrame(0, syn, 1, request)), wsFrame(0x82, false, yamuxFrame(0, 2, 1, response)),
		wsFrame(0x82, true, yamuxFrame(1, fin, 1, "")), wsFrame(0x88, false, []byte{3, 232})))
	f.Add(join(wsFrame(0x82, true, yamuxFrame(0, syn, 1, request)), wsFrame(0x82, false, yamuxFrame(1, rst, 1, ""))))
	f.Add(join(wsFrame(0xc2, true, []byte("x")), wsFrame(0x81, false, []byte("y")), wsFrame(0x88, true, nil)))
	f.Fuzz(func(t *testing.T, input []byte) {
		tracer, eventsOf := newTracer(t, 1<<20, Output{Body: 10})
		r := tracer.Relay(1)
		for len(input) > 0 {
			n := min(int(input[0]>>1), len(input)-1)
			if p := input[1 : 1+n]; input[0]&1 == 0 {
				r.Dialing(p)
			} else {
				r.Accepting(p)
			}
			input = input[1+n:]
		}
		r.End()
		open := map[uint64]bool{}
		for _, e := range eventsOf() {
			if strings.Contains(e.Message, "a bug of wstun") {
				t.Fatal(e.Message)
			}
			switch {
			case e.Type == ClientHeader:
				open[e.Call] = true
			case e.Call > 0 && !open[e.Call]:
				t.Fatalf("%s without a beginning", e.String())
			}
			if e.IsEnd() {
				delete(open, e.Call)
			}
		}
		if len(open) > 0 {
			t.Fatal(fmt.Sprint(len(open), " calls without an end"))
		}
	})
}
