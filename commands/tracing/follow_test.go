package tracing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// start is the time of the first event.
var start = time.Date(2026, 11, 29, 12, 0, 0, 0, time.Local)

// tester feeds a follower with events.
type tester struct {
	*follower
	t   *testing.T
	out bytes.Buffer
	now time.Time
}

// hubCatalog returns the demo Hub's descriptors.
func hubCatalog(t *testing.T) *reflection.Catalog {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
	set, err := reflection.FromFiles(t.Context(), &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return reflection.NewCatalog(reflection.FromSet(set))
}

// newTester returns a follower with the demo Hub's descriptors.
func newTester(t *testing.T, o *Options, json bool) *tester {
	t.Helper()
	out := &Output{JSON: json, Secrets: &escape.Secrets{}, Catalog: hubCatalog(t), Summary: true}
	out.Secrets.Add("topsecret")
	ts := &tester{t: t, now: start}
	out.Writer = &ts.out
	o.Trace = true
	f, err := o.check()
	if err != nil {
		t.Fatal(err)
	}
	ts.follower, _ = o.newFollower(out, f)
	if r, ok := ts.render.(*textRenderer); ok {
		r.ascii = false
	}
	return ts
}

// event passes an event of call number 1, after so much time.
func (ts *tester) event(after time.Duration, e trace.Event) {
	ts.now = ts.now.Add(after)
	if e.Call == 0 && e.Type != trace.Lost && e.Type != trace.GoAway && e.Type != trace.Other {
		e.Call = 1
	}
	if e.Method == "" {
		e.Method = "/wstun.demo.v1.Hub/CreateKey"
	}
	if e.Type != trace.ServerTrailer {
		e.Code = trace.NoStatus
	}
	e.Session, e.Time, e.IsGRPC = 1, ts.now, true
	ts.Event(&e)
	ts.Flush(ts.now)
}

// expect checks the output since the last call.
func (ts *tester) expect(lines ...string) {
	ts.t.Helper()
	want := strings.Join(lines, "\n")
	if len(lines) > 0 {
		want += "\n"
	}
	if got := ts.out.String(); got != want {
		ts.t.Errorf("got\n%swant\n%s", got, want)
	}
	ts.out.Reset()
}

// message returns a message as an event.
func messageEvent(kind trace.Type, m proto.Message) trace.Event {
	data, _ := proto.Marshal(m)
	return trace.Event{Type: kind, Data: data, Size: int64(len(data))}
}

var okEnd = trace.Event{
	Type: trace.ServerTrailer, Code: codes.OK, Duration: 400 * time.Microsecond,
	Sent: trace.Count{Messages: 1, Bytes: 4}, Received: trace.Count{Messages: 1, Bytes: 12_800},
}

// A unary call that ends soon is one line, one that stays open a line now and then.
func TestLines(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{}, false)
	ts.event(0, trace.Event{Type: trace.ClientHeader})
	ts.event(time.Millisecond, trace.Event{Type: trace.ClientMessage, Size: 4})
	ts.expect()
	ts.event(time.Millisecond, okEnd)
	ts.expect("12:00:00.002  s1 #1     OK  Hub/CreateKey     0.4 ms   ↑ 1 · 4 B       ↓ 1 · 12.5 KiB")

	watch := trace.Event{Call: 2, Method: "/wstun.demo.v1.Hub/WatchKeys"}
	event := func(kind trace.Type) trace.Event { e := watch; e.Type = kind; return e }
	ts.event(0, event(trace.ClientHeader))
	next := ts.Flush(ts.now)
	if want := ts.now.Add(200 * time.Millisecond); next != want {
		t.Errorf("Flush returns %v, want %v", next, want)
	}
	ts.now = next
	ts.Flush(next)
	ts.expect("12:00:00.002  s1 #2      →  Hub/WatchKeys")
	m := event(trace.ServerMessage)
	m.Size, m.Received = 10, trace.Count{Messages: 1, Bytes: 10}
	ts.event(time.Second, m)
	ts.Flush(start.Add(10*time.Second + 2*time.Millisecond))
	ts.expect("12:00:10.002  s1 #2      …  Hub/WatchKeys     10.0 s   ↑ 0             ↓ 1 · 10 B      last 8.8 s ago")
	ts.Flush(start.Add(30*time.Second + 2*time.Millisecond))
	ts.expect("12:00:30.002  s1 #2      …  Hub/WatchKeys     30.0 s   ↑ 0             ↓ 1 · 10 B      last 28.8 s ago")
	ts.Flush(start.Add(90*time.Second + 2*time.Millisecond))
	ts.Flush(start.Add(150*time.Second + 2*time.Millisecond))
	ts.expect(
		"12:01:30.002  s1 #2      …  Hub/WatchKeys     90.0 s   ↑ 0             ↓ 1 · 10 B      last 88.8 s ago",
		"12:02:30.002  s1 #2      …  Hub/WatchKeys      2m30s   ↑ 0             ↓ 1 · 10 B      last 2m29s ago",
	)
}

// At most three reminders are printed at a time.
func TestReminders(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true}, false)
	for i := range uint64(10) {
		ts.event(0, trace.Event{Type: trace.ClientHeader, Call: 1 + i})
	}
	ts.Flush(start.Add(time.Second))
	ts.expect()
	ts.Flush(start.Add(10 * time.Second))
	if got := strings.Count(ts.out.String(), "\n"); got != 4 || !strings.Contains(ts.out.String(), "… and 7 more open calls") {
		t.Errorf("%d lines: %s", got, ts.out.String())
	}
}

func TestMessageLines(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true}, false)
	ts.event(0, trace.Event{Type: trace.ClientHeader})
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9 topsecret \u202e"}))
	ts.expect(`12:00:00.000  s1 #1      →  Hub/CreateKey  {"name":"z9 *** \u202e"}`)
	ts.event(0, trace.Event{Type: trace.ServerMessage, Data: []byte("\x0a\x01z\x4a\x01x"), Size: 6})
	ts.expect(`12:00:00.000  s1 #1      ←  Hub/CreateKey  {"name":"z","+9":"x"}   1 unknown field: the schema differs from the sender's`)
	ts.event(0, trace.Event{Type: trace.ServerMessage, Size: 100})
	ts.expect(`12:00:00.000  s1 #1      ←  Hub/CreateKey     100 B, not kept`)
	ts.event(0, trace.Event{Type: trace.ServerMessage, Data: []byte("x"), Size: 1, Encoding: "snappy"})
	ts.expect(`12:00:00.000  s1 #1      ←  Hub/CreateKey     1 B, compressed with snappy`)

	ts.event(0, trace.Event{Type: trace.ClientMessage, Method: "/a.B/C", Call: 2, Data: []byte("\x0a\x01z\x10\x05"), Size: 5})
	ts.expect(`12:00:00.000  s1 #2      →  B/C            {"1":"z","2":5}   no schema`)

	long := messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: strings.Repeat("z", 100_000)})
	long.Data = long.Data[:shortBody]
	ts.event(0, long)
	if line := ts.out.String(); len(line) > maxLine+200 || !strings.Contains(line, `{"name":"zzzz`) || !strings.Contains(line, "z…   97.7 KiB, the rest isn't kept") {
		t.Errorf("a long message: %d bytes: %.100s … %s", len(line), line, line[max(0, len(line)-100):])
	}
}

// With --trace-full, messages aren't shortened.
func TestFull(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Full: true}, false)
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: strings.Repeat("z", 100_000)}))
	if got := ts.out.Len(); got < 100_000 {
		t.Errorf("%d bytes, want all", got)
	}
	if ts.messages.body() != -1 {
		t.Errorf("%d bytes of messages are kept, want all", ts.messages.body())
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		event trace.Event
		want  string
	}{
		{trace.Event{Type: trace.ServerTrailer, Code: codes.NotFound, Message: "no\nkey topsecret"}, `ERR  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             NOT_FOUND no\nkey ***`},
		{trace.Event{Type: trace.ServerTrailer, Code: 99}, `ERR  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             CODE_99`},
		{trace.Event{Type: trace.ServerTrailer, Code: trace.NoStatus, HTTPStatus: "502", ContentType: "text/html"}, `ERR  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             no gRPC status: HTTP 502 text/html`},
		{trace.Event{Type: trace.Cancel, Side: trace.Client, HTTP2Code: http2.ErrCodeCancel}, `END  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             CANCELLED by the client`},
		{trace.Event{Type: trace.Cancel, Side: trace.Server, HTTP2Code: http2.ErrCodeInternal}, `END  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             CANCELLED by the server: INTERNAL_ERROR`},
		{trace.Event{Type: trace.Cancel, Side: trace.Server, HTTP2Code: http2.ErrCodeCancel, Timeout: time.Millisecond}, `END  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             DEADLINE_EXCEEDED: the deadline of 1.0 ms passed at the server`},
		{trace.Event{Type: trace.Cut, Side: trace.Wstun, Message: "close 1006"}, `CUT  Hub/CreateKey     1.0 ms   ↑ 0             ↓ 0             close 1006`},
	} {
		ts := newTester(t, &Options{}, false)
		ts.event(0, trace.Event{Type: trace.ClientHeader})
		tt.event.Duration = time.Millisecond
		ts.event(time.Millisecond, tt.event)
		ts.expect("12:00:00.001  s1 #1    " + tt.want)
	}
}

func TestOtherLines(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{}, false)
	ts.event(0, trace.Event{Type: trace.GoAway, Side: trace.Client})
	ts.event(0, trace.Event{Type: trace.GoAway, Side: trace.Server, HTTP2Code: http2.ErrCodeEnhanceYourCalm, Message: "too_many_pings"})
	ts.event(0, trace.Event{Type: trace.GoAway, Side: trace.Wstun, Message: "wstun: bye"})
	ts.event(0, trace.Event{Type: trace.Other, Stream: 3, Message: "a TLS handshake"})
	ts.event(0, trace.Event{Type: trace.Other, Stream: 3, Duration: time.Second, Sent: trace.Count{Bytes: 5}, Received: trace.Count{Bytes: 2000}})
	ts.event(0, trace.Event{Type: trace.Lost, Lost: trace.Losses{Events: 3, Calls: 2, Bytes: 3 << 20, Conns: 1}})
	ts.expect(
		"12:00:00.000  s1            GOAWAY from the server: ENHANCE_YOUR_CALM: too_many_pings",
		"12:00:00.000  s1            GOAWAY from wstun: bye",
		"12:00:00.000  s1      other  stream 3: a TLS handshake",
		"12:00:00.000  s1      other  stream 3: ended after 1.0 s, 5 B sent, 2.0 KiB received",
		"12:00:00.000          lost  2 calls, 3 messages, 1 connections, 3.0 MiB of messages: the trace could not keep up",
	)
}

// gRPC's own services are hidden, unless a filter names methods, or wstun refuses the call.
func TestInfrastructure(t *testing.T) {
	t.Parallel()
	const method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	run := func(ts *tester, end trace.Event) {
		ts.event(0, trace.Event{Type: trace.ClientHeader, Method: method})
		end.Method = method
		ts.event(0, end)
	}
	ts := newTester(t, &Options{}, false)
	run(ts, okEnd)
	ts.expect()
	ts.Close()
	ts.expect("trace: 0 calls, 1 hidden: reflection, health and channelz (--filter '*' shows them)")

	ts = newTester(t, &Options{}, false)
	run(ts, trace.Event{Type: trace.ServerTrailer, Side: trace.Wstun, Code: codes.Unavailable, Message: "wstun: no session"})
	if !strings.Contains(ts.out.String(), "UNAVAILABLE wstun: no session") {
		t.Errorf("a refused call: %q", ts.out.String())
	}

	ts = newTester(t, &Options{Filter: []string{"*"}, Given: usage.Given{"filter": true}}, false)
	run(ts, okEnd)
	if !strings.Contains(ts.out.String(), "ServerReflection/ServerReflectionInfo") {
		t.Errorf("--filter '*': %q", ts.out.String())
	}
}

// The lines of a call wait until the filter is decided.
func TestHeldLines(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true, Filter: []string{"status!=OK", "$.name=shown"}}, false)
	create := func(number uint64, name string, code codes.Code) {
		ts.event(0, trace.Event{Type: trace.ClientHeader, Call: number})
		m := messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: name})
		m.Call = number
		ts.event(0, m)
		ts.event(0, trace.Event{Type: trace.ServerTrailer, Call: number, Code: code})
	}
	create(1, "a", codes.OK)
	ts.expect()
	create(2, "b", codes.NotFound)
	if got := ts.out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `{"name":"b"}`) {
		t.Errorf("a failed call: %q", got)
	}
	ts.out.Reset()
	create(3, "shown", codes.OK)
	if got := ts.out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `{"name":"shown"}`) {
		t.Errorf("a call with the field: %q", got)
	}
	if ts.held != 0 || len(ts.calls) != 0 {
		t.Errorf("%d bytes are held, %d calls open", ts.held, len(ts.calls))
	}
	for i := range 1000 { // bounded
		m := messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: strings.Repeat("z", 1000)})
		m.Call = 4 + uint64(i%2)
		ts.event(0, m)
	}
	if ts.held > 2*maxHeld {
		t.Errorf("%d bytes are held for two calls, want at most %d each", ts.held, maxHeld)
	}
}

// failing is a writer that fails while it is full.
type failing struct {
	bytes.Buffer
	full bool
}

func (f *failing) Write(p []byte) (int, error) {
	if !f.full {
		return f.Buffer.Write(p)
	}
	n, _ := f.Buffer.Write(p[:3])
	return n, errors.New("no space left on device")
}

// Lines that can't be written are counted, and their number is reported later.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{}, false)
	disk := &failing{full: true}
	ts.follower.out = disk
	for range 5 {
		ts.event(0, trace.Event{Type: trace.ClientHeader})
		ts.event(0, okEnd)
	}
	disk.full = false
	disk.Reset()
	ts.event(0, trace.Event{Type: trace.ClientHeader})
	ts.event(0, okEnd)
	if got := disk.String(); !strings.HasPrefix(got, "\ntrace: 5 lines are missing here: they could not be written\n12:00:00.000") {
		t.Errorf("afterwards: %q", got)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true}, true)
	ts.event(0, trace.Event{Type: trace.ClientHeader, Seq: 1, Authority: "a", Metadata: []hpack.HeaderField{{Name: "x", Value: "topsecret"}, {Name: "x", Value: "2"}}})
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9"}))
	details := "CAUSBXdyb25n" // google.rpc.Status{5, "wrong"}
	ts.event(time.Second, trace.Event{
		Type: trace.ServerTrailer, Code: codes.NotFound, Message: "wrong", Duration: time.Second,
		Metadata: []hpack.HeaderField{{Name: "grpc-status-details-bin", Value: details}},
	})
	ts.event(0, trace.Event{Type: trace.Lost, Lost: trace.Losses{Calls: 2}})
	ts.Close()
	at := func(d time.Duration) string { return start.Add(d).UTC().Format(time.RFC3339Nano) }
	rpc := func(d time.Duration, rest string) string {
		return fmt.Sprintf(`{"event":"rpc","time":%q,%s}`, at(d), rest)
	}
	got := strings.Split(ts.out.String(), "\n")
	for i, want := range []string{
		rpc(0, `"session":1,"call":1,"seq":1,"type":"client_header","method":"/wstun.demo.v1.Hub/CreateKey","authority":"a","metadata":{"x":["***","2"]}`),
		rpc(0, `"session":1,"call":1,"type":"client_message","method":"/wstun.demo.v1.Hub/CreateKey","size":4,"message":{"name":"z9"}`),
		rpc(time.Second, `"session":1,"call":1,"type":"server_trailer","method":"/wstun.demo.v1.Hub/CreateKey",`+
			`"status":{"code":5,"name":"NOT_FOUND","message":"wrong"},"ms":1000,"sent":{"messages":0,"bytes":0},"received":{"messages":0,"bytes":0}`),
		rpc(time.Second, `"session":1,"type":"lost","method":"/wstun.demo.v1.Hub/CreateKey","lost":{"calls":2}`),
	} {
		if got[i] != want {
			t.Errorf("line %d:\ngot  %s\nwant %s", i, got[i], want)
		}
	}
	var last map[string]any
	if err := json.Unmarshal([]byte(got[4]), &last); err != nil || last["type"] != "summary" {
		t.Errorf("last line %q: %v", got[4], err)
	}
}

// Lines fit the width of a terminal, also with characters of two columns.
func TestWidth(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true}, false)
	ts.render.(*textRenderer).width = func() int { return 100 }
	for _, name := range []string{"short", strings.Repeat("x", 100), strings.Repeat("漢", 100), strings.Repeat("漢", 11) + "x"} {
		ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: name}))
		line := strings.TrimSuffix(ts.out.String(), "\n")
		if n := length(line); n > 100 || len(name) >= 100 && n < 97 {
			t.Errorf("%d columns: %s", n, line)
		}
		ts.out.Reset()
	}
	r := ts.render.(*textRenderer)
	r.width, r.colors = func() int { return 150 }, terminal.NewColors("always", false) // which take no columns
	ts.event(0, trace.Event{Type: trace.ServerTrailer, Code: codes.NotFound, Message: strings.Repeat("x", 200)})
	line := strings.TrimSuffix(ts.out.String(), "\n")
	if n := length(line); n < 147 || n > 150 || len(line) == n || !strings.Contains(line, string(terminal.Red)+"ERR") {
		t.Errorf("%d columns: %q", n, line)
	}
}
