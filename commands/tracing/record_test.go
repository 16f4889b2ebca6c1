package tracing

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// newRecordTester returns a follower that records, and a function that ends the recording
// and returns its text.
func newRecordTester(t *testing.T, o *Options, logs ...io.Writer) (ts *tester, end func() string) {
	t.Helper()
	o.Record, o.RecordFormat = filepath.Join(t.TempDir(), "r"), "json"
	out := &Output{Secrets: &escape.Secrets{}, Catalog: hubCatalog(t), Logger: slog.New(slog.DiscardHandler)}
	for _, log := range logs {
		out.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	out.Secrets.Add("topsecret")
	f, err := o.check()
	if err != nil {
		t.Fatal(err)
	}
	follower, _, err := o.newFileRecorder(t.Context(), out, f)
	if err != nil {
		t.Fatal(err)
	}
	return &tester{follower: follower, t: t, now: start}, func() string {
		follower.Close()
		text, err := os.ReadFile(o.Record)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// contains reports whether text has s, also in base64.
func contains(text, s string) bool {
	var decoded []byte
	for line := range strings.Lines(text) {
		l := &recording.Line{}
		if json.Unmarshal([]byte(line), l) == nil {
			decoded = append(append(decoded, l.Data...), '\n')
			if l.Status != nil {
				decoded = append(decoded, l.Status.Data...)
			}
		}
	}
	return strings.Contains(text+string(decoded), s)
}

// nested returns a field with a message that doesn't end with a field.
func nested(number protowire.Number, fields string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), fields+"\x12\x7f")
}

// Secret fields are hidden in messages that don't have their type, too.
func TestOddSecrets(t *testing.T) {
	t.Parallel()
	const secret = "\x12\x07hidden1" // of a demo.Key
	inAny, _ := proto.Marshal(&spb.Status{Code: 5, Details: []*anypb.Any{{TypeUrl: "x/wstun.demo.v1.Key", Value: []byte("\x0a\x01k" + secret + "\x12\x7f")}}})
	events := map[string]trace.Event{
		"group":     {Data: []byte("\x13\x12\x07hidden1\x14")},
		"nested":    {Data: nested(2, "\x0a\x01k"+secret), Method: "/wstun.demo.v1.Hub/WatchKeys"},
		"twice":     {Data: nested(1, string(nested(1, secret))), Method: "/wstun.demo.v1.Hub/WatchKeys"},
		"cut off":   {Data: []byte("\x0a\x01k\x12\x7fhidden1")},
		"truncated": {Data: []byte("\x12\x09\x0a\x01k\x12\x7fhidden1"), Size: 1000, Method: "/wstun.demo.v1.Hub/WatchKeys"},
		"details": {
			Type: trace.ServerTrailer, Code: codes.NotFound,
			Metadata: []hpack.HeaderField{{Name: recording.DetailsKey, Value: base64.RawStdEncoding.EncodeToString(inAny)}},
		},
	}
	for name, e := range events {
		if e.Type == 0 {
			e.Type = trace.ServerMessage
		}
		if e.Size == 0 {
			e.Size = int64(len(e.Data))
		}
		record, end := newRecordTester(t, &Options{})
		for kind, ts := range map[string]*tester{
			"lines": newTester(t, &Options{Messages: true}, false), "json": newTester(t, &Options{Messages: true}, true), "recording": record,
		} {
			ts.event(0, e)
			got := ts.out.String()
			if ts == record {
				got = end()
			}
			if !strings.Contains(got, "#1") && !strings.Contains(got, `"call":1`) {
				t.Errorf("%s, %s: no event: %s", name, kind, got)
			}
			for _, hidden := range []string{"hidden1", base64.StdEncoding.EncodeToString([]byte("hidden1"))[:9]} {
				if contains(got, hidden) || len(e.Data) > 0 && contains(got, base64.StdEncoding.EncodeToString(e.Data)) {
					t.Errorf("%s, %s: the secret is in %s", name, kind, got)
				}
			}
		}
	}
}

// Patterns of fields match in any case, and with the name of the type.
func TestRedactField(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"NAME", "na?e", "key.name", "Key.*", "wstun.demo.v1.Key.name", "CREATE*"} {
		ts, end := newRecordTester(t, &Options{Redact: []string{pattern}})
		ts.event(0, messageEvent(trace.ServerMessage, &demo.Key{Name: "hidden1"}))
		if got := end(); contains(got, "hidden1") != (pattern == "CREATE*") {
			t.Errorf("--redact %s: %s", pattern, got)
		}
	}
	ts, end := newRecordTester(t, &Options{Redact: []string{"CREATETIME"}}) // its name in JSON
	ts.event(0, trace.Event{Type: trace.ServerMessage, Data: []byte("\x1a\x02\x08\x07"), Size: 4})
	if got := end(); !strings.Contains(got, `"redacted":["create_time"]`) {
		t.Errorf("the JSON name: %s", got)
	}
}

// A recording with secrets knows which metadata they are in, and a conversion removes them.
func TestConvertSecrets(t *testing.T) {
	t.Parallel()
	ts, end := newRecordTester(t, &Options{RecordSecrets: true})
	ts.event(0, trace.Event{Type: trace.ClientHeader, Metadata: []hpack.HeaderField{
		{Name: "x-key", Value: "hidden1", Sensitive: true}, {Name: "x-key", Value: "hidden2", Sensitive: true}, {Name: "x-other", Value: "shown"},
	}})
	ts.event(0, messageEvent(trace.ServerMessage, &demo.Key{Name: "k", Secret: "hidden3"}))
	kept := end()
	for _, secret := range []string{"hidden1", "hidden2", "hidden3", `"sensitive":["x-key"]`} {
		if !contains(kept, secret) {
			t.Errorf("%s isn't in %s", secret, kept)
		}
	}
	for _, secrets := range []bool{true, false} {
		o := &Options{Record: filepath.Join(t.TempDir(), "r"), RecordSecrets: secrets}
		out := &Output{Secrets: &escape.Secrets{}, Logger: slog.New(slog.DiscardHandler)}
		if err := o.Print(t.Context(), strings.NewReader(kept), false, out); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(o.Record)
		if contains(string(got), "hidden") != secrets || !strings.Contains(string(got), "shown") {
			t.Errorf("with secrets %t: %s", secrets, got)
		}
		if secrets && !strings.Contains(string(got), `"sensitive":["x-key"]`) {
			t.Errorf("the names are lost: %s", got)
		}
	}
}

// The token of this side isn't in a recording, even if the peer repeats it.
func TestRecordToken(t *testing.T) {
	t.Parallel()
	details, _ := proto.Marshal(&spb.Status{Code: 16, Message: "not topsecret"})
	ts, end := newRecordTester(t, &Options{})
	ts.event(0, trace.Event{Type: trace.ClientHeader})
	ts.event(0, trace.Event{
		Type: trace.ServerTrailer, Code: codes.Unauthenticated, Message: "not topsecret",
		Metadata: []hpack.HeaderField{{Name: recording.DetailsKey, Value: base64.RawStdEncoding.EncodeToString(details)}, {Name: "x", Value: "topsecret"}},
	})
	ts.event(0, trace.Event{Type: trace.GoAway, Message: "topsecret"})
	if got := end(); contains(got, "topsecret") || !contains(got, `"code":16`) {
		t.Error(got)
	}
}

// Of a message that is too long when it is decompressed, no part is recorded as all of it.
func TestRecordInflated(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.CopyN(z, zeros{}, maxInflated+1)
	_ = z.Close()
	ts, end := newRecordTester(t, &Options{})
	ts.event(0, trace.Event{Type: trace.ServerMessage, Data: b.Bytes(), Size: int64(b.Len()), Encoding: "gzip"})
	if got := end(); len(got) > 10_000 || !strings.Contains(got, `"note":"longer than 64 MiB when decompressed"`) {
		t.Errorf("%.1000s", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The types of an earlier schema are forgotten.
func TestForgetTypes(t *testing.T) {
	t.Parallel()
	ts, end := newRecordTester(t, &Options{})
	types := func() int { return reflect.ValueOf(ts.messages.redactor).FieldByName("concerned").Len() }
	most := 0
	for range 10 {
		ts.event(0, messageEvent(trace.ServerMessage, &demo.Key{Name: "k"}))
		most = max(most, types())
		ts.messages.schema.forget()
	}
	if most == 0 || most > 5 {
		t.Errorf("%d types are remembered", most)
	}
	if got := end(); strings.Count(got, `"event":"schema"`) != 1 {
		t.Errorf("the schema: %s", got)
	}
}

// countedFile counts how often its imports are asked for.
type countedFile struct {
	protoreflect.FileDescriptor
	asked *int
}

func (f countedFile) Imports() protoreflect.FileImports {
	*f.asked++
	return f.FileDescriptor.Imports()
}

// A file is converted once, not for each message in a google.protobuf.Any.
func TestFoundOnce(t *testing.T) {
	t.Parallel()
	ts, end := newRecordTester(t, &Options{})
	r, _ := ts.render.(*recorder)
	file := countedFile{demo.File_commands_demo_hub_proto, new(int)}
	r.found(file)
	once := *file.asked
	r.found(file)
	if *file.asked != once || once == 0 {
		t.Errorf("the imports are asked for %d times, and then %d", once, *file.asked-once)
	}
	end()
}

// stuck is a writer that never returns until the test ends.
type stuck struct{ released chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	<-s.released
	return len(p), nil
}

// A trace whose reader is stuck doesn't keep the recording from its end.
func TestCloseStuck(t *testing.T) {
	t.Parallel()
	reader := &stuck{make(chan struct{})}
	o := &Options{Trace: true, Record: filepath.Join(t.TempDir(), "r")}
	log := &bytes.Buffer{}
	out := &Output{Writer: reader, Secrets: &escape.Secrets{}, Catalog: reflection.NewCatalog(), Summary: true, Logger: slog.New(slog.NewTextHandler(log, nil))}
	tracing, err := o.Start(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	observer := tracing.Observe()(1)(1, true)
	observer.Sent([]byte("GET / HTTP/1.1\r\n\r\n"))
	begun := time.Now()
	tracing.Close()
	if took := time.Since(begun); took >= diskPatience { // the reader's is a second
		t.Errorf("Close took %v", took)
	}
	if strings.Contains(log.String(), "the end of the recording is missing") {
		t.Errorf("the recording hasn't ended; log: %s", log)
	}
	close(reader.released)
	_ = tracing.tracer.Close(t.Context())
	if text, err := os.ReadFile(o.Record); err != nil || !strings.Contains(string(text), "HTTP/1") {
		t.Errorf("the recording has %q, %v", text, err)
	}
}

// The name of the file chooses the format, in any case.
func TestRecordFormat(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"r": "json", "r.ndjson": "json", "r.pcapng": "pcapng", "R.PCAPNG": "pcapng", "-": "json", "r.pcap": ""} {
		o := &Options{Record: name}
		if err := o.checkRecord(); (err != nil) != (want == "") || want != "" && o.RecordFormat != want {
			t.Errorf("%s: format %q, %v, want %q", name, o.RecordFormat, err, want)
		}
	}
	if err := (&Options{Record: "r.pcap", RecordFormat: "json"}).checkRecord(); err != nil {
		t.Error(err)
	}
}

// Where secret fields can't be found, one warning says so.
func TestRecordNoSchema(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		o       Options
		method  string
		want    int
		wantKey bool
	}{
		{Options{}, "/a.B/C", 1, true},
		{Options{Redact: []string{"x"}}, "/a.B/C", 0, false},
		{Options{RecordSecrets: true}, "/a.B/C", 0, true},
		{Options{}, "/grpc.health.v1.Health/Watch", 0, true},
		{Options{}, "", 0, true},
	} {
		var log bytes.Buffer
		ts, end := newRecordTester(t, &test.o, &log)
		for range 2 {
			ts.event(0, trace.Event{Type: trace.ServerMessage, Method: test.method, Data: []byte("\x0a\x03key"), Size: 5})
		}
		text := end()
		if got := strings.Count(log.String(), `msg="recorded without a schema, so with secret fields" method=/a.B/C hint=`); got != test.want || contains(text, "key") != test.wantKey {
			t.Errorf("%+v: %s\n%s", test.o, log.String(), text)
		}
	}
}

// A filter looks at the beginning of a long message, which is recorded whole.
func TestRecordFiltered(t *testing.T) {
	t.Parallel()
	ts, end := newRecordTester(t, &Options{Filter: []string{"$.text=x*"}})
	const size = 1 << 20
	ts.event(0, trace.Event{Type: trace.ClientHeader, Method: "/wstun.demo.v1.Hub/Echo"})
	e := messageEvent(trace.ClientMessage, &demo.EchoRequest{Text: strings.Repeat("x", size)})
	e.Method = "/wstun.demo.v1.Hub/Echo"
	ts.event(0, e)
	l := &recording.Line{}
	for line := range strings.Lines(end()) {
		if err := json.Unmarshal([]byte(line), l); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(l.Data, e.Data) || l.Message != nil || l.Note != "" || l.Truncated {
		t.Errorf("the last line has %d bytes, and %.100s, note %q", len(l.Data), l.Message, l.Note)
	}
	wide := nested(1, strings.Repeat("\x0a\x00", size))
	got := ts.messages.format(t.Context(), &trace.Event{Type: trace.ServerMessage, Method: "/wstun.demo.v1.Hub/WatchKeys", Data: wide, Size: int64(len(wide))})
	if len(got.json) > 10*shortBody || len(got.data) != len(wide)-2 { // without its end, which isn't a field
		t.Errorf("a message with many others has %d bytes, and %d in JSON", len(got.data), len(got.json))
	}
}
