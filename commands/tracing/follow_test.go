package tracing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/commands/demo"
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

// newTester returns a follower with the demo Hub's descriptors.
func newTester(t *testing.T, o *Options, json bool) *tester {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
	set, err := reflection.FromFiles(t.Context(), &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	out := &Output{JSON: json, Secrets: &escape.Secrets{}, Catalog: reflection.NewCatalog(reflection.FromSet(set))}
	out.Secrets.Add("topsecret")
	ts := &tester{t: t, now: start}
	out.Writer = &ts.out
	o.Trace = true
	if ts.follower, _, err = o.newFollower(out); err != nil {
		t.Fatal(err)
	}
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
	ts.close(true)
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

// Secret fields and metadata are hidden.
func TestRedact(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true, Redact: []string{"nam*"}}, false)
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9"}))
	ts.expect(`12:00:00.000  s1 #1      →  Hub/CreateKey  {"name":"[redacted]"}`)
	ts.event(0, trace.Event{Type: trace.ClientMessage, Method: "/a.B/C", Call: 2, Data: []byte("\x0a\x01z"), Size: 3})
	ts.expect(`12:00:00.000  s1 #2      →  B/C               3 B, not shown, because --redact needs a schema`)
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
	ts.close(true)
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

// The flags need each other, and their values are checked.
func TestFlags(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*Options{
		"--filter without --trace or --trace-messages":        {Filter: []string{"*"}, Given: usage.Given{"filter": true}},
		"--redact without --trace or --trace-messages":        {Redact: []string{"*"}, Given: usage.Given{"redact": true}},
		`--redact "[": not a pattern such as secret or *key*`: {Trace: true, Redact: []string{"["}},
		`--filter ">x": ">x": want a duration such as >500ms`: {Trace: true, Filter: []string{">x"}},
	} {
		if _, err := o.Start(&Output{Writer: io.Discard}); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
	off, err := (&Options{}).Start(&Output{})
	if off != nil || err != nil {
		t.Errorf("without flags: %v, %v, want nil", off, err)
	}
	off.Forget()
	off.Close()
	if off.Observe() != nil || off.Tracer() != nil {
		t.Error("a nil Tracing observes")
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	md := (&descriptorpb.FileDescriptorProto{}).ProtoReflect().Descriptor()
	whole, _ := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: new("name"), MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{{Name: new("field"), Number: new(int32(300))}}}},
		Syntax: new("proto3"),
	})
	for n := range len(whole) {
		got := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(repair(bytes.Clone(whole[:n]), md, maxRepair), got); err != nil {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		if n > 4 && !strings.HasPrefix("name", got.GetName()[:min(len(got.GetName()), n-2)]) {
			t.Errorf("the first %d bytes: %v", n, got)
		}
	}
	if got := repair([]byte{0x0a, 0x80, 0x80}, md, maxRepair); len(got) != 0 {
		t.Errorf("half a length: %q", got)
	}
	deep := bytes.Repeat([]byte{0x1a, 0xff, 0xff, 0x03}, 1000) // nested_type
	repair(append([]byte{0x22, 0xff, 0xff, 0x03}, deep...), md, maxRepair)
}

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
		ts.close(true)
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

func FuzzPrint(f *testing.F) {
	f.Add(`{"event":"rpc","time":"2026-11-29T16:00:12Z","call":1,"type":"client_message","method":"/a.B/C","size":4,"message":{"a":1}}`)
	f.Add(`{"event":"rpc","time":"2026-11-29T16:00:12Z","call":1,"type":"server_trailer","method":"/a.B/C","status":{"code":5},"ms":1e300}`)
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		_ = (&Options{Messages: true, Filter: []string{"$.a=1 >1s", "*"}}).Print(t.Context(), strings.NewReader(line), false, &Output{Writer: &out, Secrets: &escape.Secrets{}})
	})
}

// Secrets in the details of a status are hidden, also those in types that aren't known.
func TestSecretDetails(t *testing.T) {
	t.Parallel()
	known, _ := anypb.New(&demo.Key{Name: "k", Secret: "hidden1"})
	unknown := &anypb.Any{TypeUrl: "type.googleapis.com/no.Such", Value: []byte("\x0a\x07hidden2")}
	data, _ := proto.Marshal(&spb.Status{Code: 5, Details: []*anypb.Any{known, unknown}})
	for _, isJSON := range []bool{true, false} {
		ts := newTester(t, &Options{Redact: []string{"pw"}}, isJSON)
		ts.event(0, trace.Event{Type: trace.ClientHeader})
		ts.event(0, trace.Event{
			Type: trace.ServerTrailer, Code: codes.NotFound,
			Metadata: []hpack.HeaderField{{Name: detailsKey, Value: base64.RawStdEncoding.EncodeToString(data)}},
		})
		got := ts.out.String()
		for _, secret := range []string{"hidden1", "hidden2", base64.StdEncoding.EncodeToString(unknown.GetValue()), base64.RawStdEncoding.EncodeToString(data)} {
			if strings.Contains(got, secret) {
				t.Errorf("JSON %v: %q is in %s", isJSON, secret, got)
			}
		}
		if !strings.Contains(got, `"name":"k","secret":"[redacted]"`) {
			t.Errorf("JSON %v: no details in %s", isJSON, got)
		}
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

// --redact applies to metadata in any case.
func TestRedactMetadata(t *testing.T) {
	t.Parallel()
	_, opts, err := (&Options{Trace: true, Redact: []string{"X-Foo*"}}).newFollower(&Output{Token: "Sync-Header", Secrets: &escape.Secrets{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"x-foo": true, "x-foo-bar": true, "sync-header": true, "authorization": true, "grpcgateway-authorization": true, "x-bar": false} {
		if got := opts.IsSecret(name); got != want {
			t.Errorf("IsSecret(%q) = %v, want %v", name, got, want)
		}
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
}
