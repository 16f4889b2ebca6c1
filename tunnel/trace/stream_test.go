package trace

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/mux"
)

// lines returns the events in short. The two directions' bytes of Other are added.
func lines(events []Event) (all []string) {
	for _, e := range events {
		line := e.String()
		if e.Type == Other {
			line += fmt.Sprintf(" by %s: sent %d, received %d", e.Side, e.Sent.Bytes, e.Received.Bytes)
		}
		if i := strings.Index(line, "\\ngoroutine"); i >= 0 {
			line = line[:i]
		}
		all = append(all, line)
	}
	return all
}

// check compares the events with want.
func check(t *testing.T, events []Event, want ...string) {
	t.Helper()
	if got := lines(events); !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Either end may open the stream, and either may be the HTTP/2 client. Its preface may
// arrive before or after the server's.
func TestRoles(t *testing.T) {
	t.Parallel()
	preface, call := unaryCall()
	setStream(call[Client], 3)
	setStream(call[Server], 3)
	for i := range 8 {
		opened, sentByClient, serverFirst := i&1 != 0, i&2 != 0, i&4 != 0
		t.Run(fmt.Sprintf("opened=%t/client=%t/serverFirst=%t", opened, sentByClient, serverFirst), func(t *testing.T) {
			t.Parallel()
			tracer, events := newTracer(t, 0, Output{Body: -1})
			o := tracer.Session(7)(9, opened)
			from := [2]func([]byte){o.Received, o.Sent}
			if sentByClient {
				from[Client], from[Server] = o.Sent, o.Received
			}
			if serverFirst {
				settings := preface[Server][:h2.HeaderLen]
				from[Server](settings[:1])
				from[Server](settings[1:])
				from[Client](preface[Client])
				from[Server](preface[Server][h2.HeaderLen:])
			} else {
				from[Client](preface[Client])
				from[Server](preface[Server])
			}
			from[Client](call[Client])
			from[Server](call[Server])
			o.End(nil)
			got := events()
			if len(got) != 12 {
				t.Fatalf("events %q", lines(got))
			}
			check(t, got[6:],
				"2.1 client_header /wstun.demo.v1.Hub/CreateKey content-type=application/grpc user-agent=grpc-go/1.85.0 te=trailers",
				"2.2 client_message 10 a684c7c6",
				"2.3 client_half_close",
				"2.4 server_header content-type=application/grpc",
				"2.5 server_message 10 a684c7c6",
				"2.6 server_trailer grpc-status=0 grpc-message= OK")
			for _, e := range got[6:] {
				if e.Session != 7 || e.Stream != 9 || e.Method != "/wstun.demo.v1.Hub/CreateKey" || !e.IsGRPC || e.Time.IsZero() {
					t.Errorf("event %+v", e)
				}
			}
			if end := got[11]; end.Sent != (Count{1, 10}) || end.Received != (Count{1, 10}) || end.Duration < 0 {
				t.Errorf("end %+v", end)
			}
		})
	}
}

func TestOther(t *testing.T) {
	t.Parallel()
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	tls := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
	for _, test := range []struct {
		name           string
		received, sent string
		message        string
		by             Side
	}{
		{"TLS", tls, "\x16\x03\x03", Encrypted, Server},
		{"TLS with a length like SETTINGS", "\x16\x03\x01\x04\x2a\x01\x00\x04\x26", "", Encrypted, Server},
		{"GET", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "an HTTP/1 request", Server},
		{"POST", "POST / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "an HTTP/1 request", Client},
		{"other bytes", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", "xyz", "not HTTP/2", Server},
		{"two clients", http2.ClientPreface + settings, http2.ClientPreface, "an HTTP/2 client preface", Server},
		{"malformed", http2.ClientPreface + settings + "\x00\x00\x00\x09\x04\x00\x00\x00\x01", settings, "malformed HTTP/2 frame", Client},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tracer, events := newTracer(t, 0, Output{})
			o := tracer.Session(1)(1, false)
			for _, half := range []string{test.received, test.received} { // the second is only counted
				o.Received([]byte(half))
				o.Sent([]byte(test.sent))
			}
			o.End(errors.New("reset"))
			check(t, events(),
				fmt.Sprintf("0.0 other %q by %s: sent 0, received 0", test.message, test.by),
				fmt.Sprintf("0.0 other by client: sent %d, received %d", 2*len(test.sent), 2*len(test.received)))
		})
	}
}

// A stream without bytes isn't traced.
func TestNoBytes(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	o := tracer.Session(1)(1, false)
	o.Received(nil)
	o.End(nil)
	check(t, events())
}

// Open calls end when the stream does.
func TestCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(*hostile)
		want []string
	}{
		"closed by the peer": {func(h *hostile) { h.o.Closed(true); h.o.Closed(false); h.o.End(nil) }, []string{`1.2 cut "the client closed the connection"`}},
		"closed here":        {func(h *hostile) { h.o.Closed(false); h.o.Closed(true); h.o.End(nil) }, []string{`1.2 cut "the server closed the connection"`}},
		"reset by the peer":  {func(h *hostile) { h.o.End(mux.ErrReset) }, []string{`1.2 cut "the client reset the connection"`}},
		"reset here":         {func(h *hostile) { h.o.End(net.ErrClosed) }, []string{`1.2 cut "the server reset the connection"`}},
		"session lost":       {func(h *hostile) { h.o.End(errors.New("lost")) }, []string{`1.2 cut "lost"`}},
		"malformed": {func(h *hostile) {
			h.o.Sent([]byte{0, 0, 0, 9, 4, 0, 0, 0, 1})
			h.o.End(nil)
		}, []string{
			`0.0 other "malformed HTTP/2 frame" by server: sent 0, received 0`, `1.2 cut "malformed HTTP/2 frame"`,
			"0.0 other by client: sent 24, received 73",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, events := newTracer(t, 0, Output{})
			h := newHostile(tracer, 4096)
			h.request(1)
			test.end(h)
			check(t, events(), append([]string{"1.1 " + clientHeader}, test.want...)...)
		})
	}
}

// A panic of the decoder ends the trace of the connection, and its calls.
func TestPanic(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	s := &observedStream{tracer: tracer, session: 1, stream: 1}
	h := connect(&mux.StreamObserver{
		Received: func(p []byte) { s.scan(p, &s.received) },
		Sent:     func(p []byte) { s.scan(p, &s.sent) },
		End:      s.end,
	}, 4096)
	h.request(1)
	s.conn.server.scanner = nil
	_ = h.f[Server].WriteSettings()
	h.flush()
	h.request(3)
	h.o.End(nil)
	check(t, events(),
		"1.1 "+clientHeader,
		`0.0 other "a bug of wstun ended the trace of this connection: runtime error: invalid memory address or nil pointer dereference`,
		`1.2 cut "the trace of this connection has ended"`)
	if tracer.closing[0].queue.reserved != 0 {
		t.Errorf("%d bytes of the queue are still reserved", tracer.closing[0].queue.reserved)
	}
}

// Calls aren't confused with each other, nor with frames of ended ones.
func TestAttribution(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{Body: -1})
	h := newHostile(tracer, 4096)
	const end = http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream
	status := hpack.HeaderField{Name: "grpc-status", Value: "5"}
	h.request(1)
	h.request(3)
	_ = h.f[Client].WriteData(3, false, []byte("\x00\x00\x00\x00\x01a\x00\x00\x00"))
	_ = h.f[Client].WriteData(1, true, []byte("\x00\x00\x00\x00\x01b"))
	_ = h.f[Client].WriteData(3, false, []byte("\x00\x00"))
	h.flush()
	h.headers(Server, 3, end, status)
	h.headers(Server, 1, end, hpack.HeaderField{Name: "grpc-status", Value: "0"})
	_ = h.f[Client].WriteData(3, true, []byte("\x00\x00\x00\x00\x01c")) // it was on its way
	_ = h.f[Client].WriteRSTStream(3, http2.ErrCodeCancel)
	_ = h.f[Server].WriteRSTStream(1, http2.ErrCodeNo)
	h.flush()
	h.headers(Server, 3, end, status)
	h.headers(Client, 3, end) // trailers
	h.headers(Client, 1, end)
	h.headers(Server, 2, end, status) // pushed
	h.request(5)
	h.headers(Client, 5, end, hpack.HeaderField{Name: "trailer", Value: "x"})
	_ = h.f[Server].WriteRSTStream(5, http2.ErrCodeRefusedStream)
	_ = h.f[Server].WriteGoAway(5, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
	h.flush()
	h.o.End(nil)
	check(t, events(), "1.1 "+clientHeader, "2.1 "+clientHeader,
		"2.2 client_message 1 e8b7be43", "1.2 client_message 1 71beeff9", "1.3 client_half_close", "2.3 client_message 0 0",
		"2.4 server_trailer grpc-status=5 NotFound", "1.4 server_trailer grpc-status=0 OK",
		"3.1 "+clientHeader, "3.2 client_half_close", "3.3 cancel by server: REFUSED_STREAM",
		`0.0 goaway by server: ENHANCE_YOUR_CALM "too_many_pings"`)
}

// A response that isn't gRPC's, such as that of a proxy, has no messages.
func TestForeignResponse(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{Body: -1})
	h := newHostile(tracer, 4096)
	h.request(1)
	h.headers(Server, 1, http2.FlagHeadersEndHeaders, hpack.HeaderField{Name: ":status", Value: "502"}, hpack.HeaderField{Name: "content-type", Value: "text/html"})
	page := bytes.Repeat([]byte{0}, 60)
	_ = h.f[Server].WriteData(1, true, page)
	h.flush()
	h.o.End(nil)
	got := events()
	check(t, got, "1.1 "+clientHeader,
		"1.2 server_header content-type=text/html", "1.3 server_trailer HTTP 502 text/html")
	if want := (Count{Bytes: int64(len(page))}); got[2].Received != want {
		t.Errorf("received %+v, want %+v", got[2].Received, want)
	}
}

// An observer must not keep the bytes that it is called with.
func TestKeepsNoBytes(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string]func(h *hostile){
		"message": func(h *hostile) {
			_ = h.f[Client].WriteData(1, false, append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...))
		},
		"part of message": func(h *hostile) {
			_ = h.f[Client].WriteData(1, false, append([]byte{0, 0, 0, 0, 200}, make([]byte, 100)...))
		},
		"GOAWAY": func(h *hostile) { _ = h.f[Client].WriteGoAway(0, 0, make([]byte, 100)) },
		"headers": func(h *hostile) {
			_ = h.hpack[Client].WriteField(unindexed(":path", 200))
			_ = h.f[Client].WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, h.block.Bytes())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, _ := newTracer(t, 0, Output{Body: -1})
			h := newHostile(tracer, 4096)
			h.request(1)
			h.block.Reset()
			frame(h)
			p := new([300]byte)
			n := copy(p[:], h.out[Client].Bytes())
			h.o.Received(p[:n])
			w := weak.Make(p)
			runtime.GC()
			if w.Value() != nil {
				t.Error("the bytes are still referenced")
			}
			h.o.End(nil)
		})
	}
}
