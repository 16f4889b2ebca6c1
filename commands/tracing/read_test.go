package tracing

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// The lines of a trace are the same when they are printed from its events.
func TestPrint(t *testing.T) {
	t.Parallel()
	run := func(ts *tester) {
		ts.event(0, trace.Event{Type: trace.ClientHeader, Authority: "a"})
		ts.event(time.Millisecond, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9"}))
		ts.event(11*time.Second, trace.Event{Type: trace.ServerHeader})
		ts.event(time.Second, trace.Event{Type: trace.ServerMessage, Data: []byte("\x0a\x01z\x4a\x01x"), Size: 6})
		end := okEnd
		end.Code, end.Message = codes.NotFound, "wrong"
		end.Metadata = []hpack.HeaderField{{Name: "grpc-status-details-bin", Value: "CAUSBXdyb25nGjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5FcnJvckluZm8SBAoCaGk"}}
		ts.event(0, end)
		ts.event(0, trace.Event{Type: trace.ClientHeader, Call: 2})
		ts.event(0, trace.Event{Type: trace.Cancel, Call: 2, Side: trace.Server, HTTP2Code: http2.ErrCodeInternal, Duration: time.Second})
		ts.event(0, trace.Event{Type: trace.ClientHeader, Call: 3})
		ts.event(0, trace.Event{Type: trace.Cut, Call: 3, Side: trace.Wstun, Message: "lost", Duration: time.Second})
		ts.event(0, trace.Event{Type: trace.GoAway, Side: trace.Server, HTTP2Code: http2.ErrCodeEnhanceYourCalm, Message: "calm"})
		ts.event(0, trace.Event{Type: trace.Other, Stream: 3, Duration: time.Second, Sent: trace.Count{Bytes: 5}, Received: trace.Count{Bytes: 6}})
		ts.event(0, trace.Event{Type: trace.Lost, Lost: trace.Losses{Events: 3}})
		ts.Close()
	}
	lines, events := newTester(t, &Options{Messages: true}, false), newTester(t, &Options{Messages: true}, true)
	run(lines)
	run(events)
	var got bytes.Buffer
	in := "time=x level=INFO msg=up\n" + events.out.String()
	if err := (&Options{Messages: true}).Print(t.Context(), strings.NewReader(in), false, &Output{Writer: &got, Secrets: &escape.Secrets{}, Summary: true}); err != nil {
		t.Fatal(err)
	}
	if got.String() != lines.out.String() {
		t.Errorf("got\n%swant\n%s", got.String(), lines.out.String())
	}
}

// Calls that are open at the end of the events are printed once, with their messages.
func TestPrintOpenCalls(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true}, true)
	ts.event(0, trace.Event{Type: trace.ClientHeader})
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9"}))
	ts.event(3*time.Hour, trace.Event{Type: trace.GoAway, Side: trace.Server})
	ts.event(10*time.Second, trace.Event{Type: trace.GoAway, Side: trace.Server})
	var got bytes.Buffer
	if err := (&Options{}).Print(t.Context(), &ts.out, false, &Output{Writer: &got, Secrets: &escape.Secrets{}, Summary: true}); err != nil {
		t.Fatal(err)
	}
	const want = "12:00:00.000  s1 #1      →  Hub/CreateKey\n" +
		"15:00:00.000  s1            GOAWAY from the server\n" +
		"15:00:10.000  s1 #1      …  Hub/CreateKey    3h0m10s   ↑ 1 · 4 B       ↓ 0             last 3h0m10s ago\n" +
		"15:00:10.000  s1            GOAWAY from the server\n" +
		"trace: 1 call, 1 still open\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// Text without events gives an error and no summary.
func TestPrintNoEvents(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	err := (&Options{}).Print(t.Context(), strings.NewReader("a\nb\n"), false, &Output{Writer: &got, Secrets: &escape.Secrets{}, Summary: true})
	if err == nil || !strings.HasPrefix(err.Error(), "no events in 2 lines") || got.Len() > 0 {
		t.Errorf("%v, and printed %q", err, got.String())
	}
}

func FuzzPrint(f *testing.F) {
	f.Add(`{"event":"rpc","time":"2026-11-29T16:00:12Z","call":1,"type":"client_message","method":"/a.B/C","size":4,"message":{"a":1}}`)
	f.Add(`{"event":"rpc","time":"2026-11-29T16:00:12Z","call":1,"type":"server_trailer","method":"/a.B/C","status":{"code":5},"ms":1e300}`)
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		_ = (&Options{Messages: true, Filter: []string{"$.a=1 >1s", "*"}}).Print(t.Context(), strings.NewReader(line), false, &Output{Writer: &out, Secrets: &escape.Secrets{}})
	})
}
