package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const schema = `
syntax = "proto3";
package test;
import "google/protobuf/any.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";

service S {
  rpc Get(M) returns (M);
  rpc Watch(M) returns (stream M);
  rpc Status(Odd) returns (Odd);
}
message Odd { string status = 1; }
message M {
  string text = 1;
  int64 number = 2;
  optional int32 maybe = 3;
  double real = 4;
  bytes data = 5;
  Color color = 6;
  M child = 7;
  repeated M children = 8;
  repeated int32 list = 9;
  map<string, M> by_name = 10;
  map<int32, string> names = 11;
  google.protobuf.Any any = 12;
  google.protobuf.Timestamp create_time = 13;
  google.protobuf.Struct fields = 14;
  oneof choice { string left = 15; string right = 16; }
  repeated google.protobuf.Timestamp times = 17;
}
enum Color { NONE = 0; RED = 1; }
`

// testSchema returns the types of schema.
var testSchema = sync.OnceValue(func() *reflection.Catalog {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		panic(err) //nolint:forbidigo // a test
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "test.proto")
	if err := os.WriteFile(path, []byte(schema), 0o600); err != nil {
		panic(err) //nolint:forbidigo // a test
	}
	set, err := reflection.LoadProtos([]string{path}, []string{dir})
	if err != nil {
		panic(err) //nolint:forbidigo // a test
	}
	return reflection.NewCatalog(reflection.FromSet(set))
})

func newComparer(tb testing.TB, ignore, unordered []string) *comparer {
	tb.Helper()
	rules, err := ParseRules(ignore, unordered)
	if err != nil {
		tb.Fatal(err)
	}
	return &comparer{catalog: testSchema(), rules: rules, metadata: true, methods: map[string]*method{}}
}

func descriptor(tb testing.TB) protoreflect.MessageDescriptor {
	tb.Helper()
	s, err := testSchema().Find(tb.Context(), "test.M")
	if err != nil {
		tb.Fatal(err)
	}
	return s.Descriptor.(protoreflect.MessageDescriptor)
}

// parse returns an encoded test.M in the text format.
func parse(tb testing.TB, text string) []byte {
	tb.Helper()
	m := dynamicpb.NewMessage(descriptor(tb))
	s, _ := testSchema().Find(tb.Context(), "test.M")
	if err := (prototext.UnmarshalOptions{Resolver: s.Types(tb.Context())}).Unmarshal([]byte(text), m); err != nil {
		tb.Fatalf("%q: %v", text, err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// ended returns a recorded call with responses, and the outcome of one.
func ended(method string, recorded, got [][]byte) (*script, *outcome) {
	s := &script{method: method, ends: true, status: status.New(codes.OK, ""), end: &recording.Event{}}
	for _, data := range recorded {
		s.responses = append(s.responses, &recording.Event{Event: trace.Event{Data: data}})
	}
	return s, &outcome{responses: got[:min(len(got), len(recorded))], count: len(got), status: status.New(codes.OK, "")}
}

// describeAll returns differences in one line.
func describeAll(found []*Difference) string {
	var texts []string
	for _, d := range found {
		text := fmt.Sprintf("%s: %s | %s", d.Path, d.Recorded, d.Replayed)
		if d.Response > 0 {
			text = fmt.Sprintf("%d.%s", d.Response, text)
		}
		if d.More > 0 {
			text += fmt.Sprintf(" +%d", d.More)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

func TestFields(t *testing.T) {
	t.Parallel()
	unknown := func(fields ...string) string { return "\x00" + strings.Join(fields, "") }
	field := func(number protowire.Number, v uint64) string {
		return string(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v))
	}
	tests := []struct {
		a, b string // text, or bytes after a NUL
		want string
	}{
		{`text: "a"`, `text: "b"`, `text: "a" | "b"`},
		{`text: "<a>\n"`, ``, `text: "<a>\n" | ""`},
		{`number: 1`, ``, `number: 1 | 0`},
		{`maybe: 0`, ``, `maybe: 0 | `},
		{`maybe: 0`, `maybe: 1`, `maybe: 0 | 1`},
		{`real: nan`, `real: nan`, ``},
		{unknown("\x21\x00\x00\x00\x00\x00\x00\xf8\x7f"), unknown("\x21\x01\x00\x00\x00\x00\x00\xf8\x7f"), ``}, // two forms of NaN
		{`real: nan`, `real: inf`, `real: "NaN" | "+Inf"`},
		{`data: "\xff"`, ``, `data: "/w==" | ""`},
		{`color: RED`, `color: 7`, `color: "RED" | 7`},
		{`child { text: "a" }`, `child {}`, `child.text: "a" | ""`},
		{`child {}`, ``, `child: {} | `},
		{`left: "a"`, `right: "a"`, `left: "a" | ; right:  | "a"`},
		{`left: ""`, `left: "b"`, `left: "" | "b"`},
		{`children { number: 1 } children { number: 2 }`, `children { number: 1 } children { number: 3 } children {}`, `children[1].number: 2 | 3; children[2]:  | {}`},
		{`list: [1, 2]`, `list: 1`, `list[1]: 2 | `},
		{`list: [1, 2, 3, 4, 5]`, ``, `list[0]: 1 | ; list[1]: 2 | ; list[2]: 3 |  +2`},
		{`by_name { key: "a" value { number: 1 } } by_name { key: "b" value {} }`, `by_name { key: "b" value {} } by_name { key: "a" value { number: 2 } }`, `by_name["a"].number: 1 | 2`},
		{`names { key: 1 value: "a" }`, `names { key: 2 value: "a" }`, `names["1"]: "a" | ; names["2"]:  | "a"`},
		{`create_time { seconds: 1 }`, `create_time { seconds: 2 }`, `create_time: "1970-01-01T00:00:01Z" | "1970-01-01T00:00:02Z"`},
		{`fields { fields { key: "a" value { number_value: 1 } } }`, `fields { fields { key: "a" value { number_value: 2 } } }`, `fields: {"a":1} | {"a":2}`},
		{`any { [t/test.M] { text: "a" number: 1 } }`, `any { [t/test.M] { text: "b" number: 1 } }`, `any.text: "a" | "b"`},
		{`any { [t/test.M] {} }`, `any { [t/test.Odd] {} }`, `any.@type: "t/test.M" | "t/test.Odd"`},
		{`any { type_url: "t/none.N" value: "\x08\x01\x10\x02" }`, `any { type_url: "u/none.N" value: "\x08\x01\x10\x03" }`, `any.+2: 2 | 3`},
		{`any { type_url: "t/none.N" value: "\x08" }`, `any { type_url: "t/none.N" value: "" }`, `any.@rest: "CA==" | `},
		{unknown(field(99, 1), field(98, 2)), unknown(field(98, 2), field(99, 1)), ``},
		{unknown(field(99, 1), field(99, 2)), unknown(field(99, 2), field(99, 1)), `+99: [1,2] | [2,1]`},
		{unknown(field(98, 1)), unknown(), `+98: 1 | `},
		{unknown("\x0a\x01\xff"), unknown("\x0a\x01\xfe"), `text: {"@bytes":"/w=="} | {"@bytes":"/g=="}`},
		{unknown("\x10"), unknown(), `@rest: "EA==" | `},
		{unknown("\x10\x00"), unknown(), ``}, // the default value on the wire
	}
	data := func(text string) []byte {
		if raw, ok := strings.CutPrefix(text, "\x00"); ok {
			return []byte(raw)
		}
		return parse(t, text)
	}
	for _, tt := range tests {
		s, o := ended("/test.S/Get", [][]byte{data(tt.a)}, [][]byte{data(tt.b)})
		found, complete := newComparer(t, nil, nil).compare(t.Context(), s, o)
		if got := describeAll(found); got != tt.want || !complete {
			t.Errorf("%q and %q: %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	const a = `text: "a" create_time { seconds: 1 } children { text: "a" create_time { seconds: 1 } } by_name { key: "k" value { color: RED number: 1 } } any { [t/test.M] { text: "a" } }`
	const b = `text: "b" create_time { seconds: 2 } children { text: "b" create_time { seconds: 2 } } by_name { key: "k" value { number: 2 } } any { [t/test.M] { text: "b" } }`
	all := []string{"text", "children.text", "children.create_time", "by_name.number", "by_name.color", "any.text", "create_time"}
	tests := []struct {
		ignore string // by blanks
		left   []string
	}{
		{"nothing *z status* responses", all},
		{"*", nil},
		{"*.text", []string{"children.create_time", "by_name.number", "by_name.color", "create_time"}},
		{"*.createTime byName", []string{"text", "children.text", "any.text"}},
		{"google.protobuf.Timestamp test.Color", []string{"text", "children.text", "by_name.number", "any.text"}},
		{"text", all[1:]},
		{"children test.S.Get:any by_name.*", []string{"text", "create_time"}},
		{"Get:text Watch:* S/get:any", []string{"children.text", "children.create_time", "by_name.number", "by_name.color", "create_time"}},
		{"test.M", nil},
	}
	for _, tt := range tests {
		s, o := ended("/test.S/Get", [][]byte{parse(t, a)}, [][]byte{parse(t, b)})
		found, _ := newComparer(t, strings.Fields(tt.ignore), nil).compare(t.Context(), s, o)
		var left []string
		for _, d := range found {
			left = append(left, d.place.pattern())
		}
		slices.Sort(left)
		if want := slices.Sorted(slices.Values(tt.left)); !slices.Equal(left, want) {
			t.Errorf("--ignore %s: %q, want %q", tt.ignore, left, want)
		}
	}
	for _, bad := range []string{"", "a[", "Hub/CreateKey", "Hub CreateKey:x", "[:x", "Hub/CreateKey:"} {
		if _, err := ParseRules([]string{bad}, nil); err == nil {
			t.Errorf("--ignore %q is accepted", bad)
		}
		if _, err := ParseRules(nil, []string{bad}); err == nil {
			t.Errorf("--unordered %q is accepted", bad)
		}
	}
}

func TestUnordered(t *testing.T) {
	t.Parallel()
	tests := []struct{ a, b, want string }{
		{`list: [1, 2, 2, 3]`, `list: [2, 3, 2, 1]`, ``},
		{`list: [1, 2, 2]`, `list: [2, 1, 1]`, `list: 2 | 1`},
		{`list: [1, 2]`, `list: [3, 2, 1]`, `list:  | 3`},
		{`children { number: 1 text: "x" } children { number: 2 }`, `children { number: 2 text: "y" } children { number: 1 }`, ``}, // text is ignored
		{`children { list: [1, 2] } children { list: 3 }`, `children { list: 3 } children { list: [2, 1] }`, ``},
		{`children { number: 1 } children { number: 2 }`, `children { number: 3 } children { number: 1 }`, `children.number: 2 | 3`},
	}
	for _, tt := range tests {
		s, o := ended("/test.S/Get", [][]byte{parse(t, tt.a)}, [][]byte{parse(t, tt.b)})
		found, _ := newComparer(t, []string{"children.text"}, []string{"children", "list", "Get:children.list"}).compare(t.Context(), s, o)
		if got := describeAll(found); got != tt.want {
			t.Errorf("%s and %s: %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
	// The responses of a stream.
	a, b, c := parse(t, `number: 1`), parse(t, `number: 2 create_time {}`), parse(t, `number: 2 create_time { seconds: 1 }`)
	s, o := ended("/test.S/Watch", [][]byte{a, b}, [][]byte{c, a})
	found, _ := newComparer(t, []string{"create_time"}, []string{"Watch:responses"}).compare(t.Context(), s, o)
	if len(found) > 0 {
		t.Error(describeAll(found))
	}
	found, _ = newComparer(t, nil, []string{"Watch:responses"}).compare(t.Context(), s, o)
	if got, want := describeAll(found), `2.create_time: "1970-01-01T00:00:00Z" | "1970-01-01T00:00:01Z"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if found, _ = newComparer(t, []string{"create_time"}, nil).compare(t.Context(), s, o); len(found) != 2 {
		t.Error(describeAll(found))
	}
}

// Values that aren't in the recording aren't compared.
func TestRedacted(t *testing.T) {
	t.Parallel()
	s, o := ended("/test.S/Get", [][]byte{parse(t, `text: "[redacted]" children { text: "[redacted]" number: 1 }`)}, [][]byte{parse(t, `text: "s" children { text: "s" number: 2 }`)})
	s.responses[0].Redacted = []string{"children.text", "text"}
	found, _ := newComparer(t, nil, nil).compare(t.Context(), s, o)
	if got, want := describeAll(found), `children[0].number: 1 | 2`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func details(reason string) *spb.Status {
	a, _ := anypb.New(&errdetails.ErrorInfo{Reason: reason})
	return &spb.Status{Code: int32(codes.NotFound), Message: "none", Details: []*anypb.Any{a}}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s, o := ended("/test.S/Get", nil, nil)
	s.status, o.status = status.FromProto(details("a")), status.FromProto(details("b"))
	check := func(ignore, want string) {
		t.Helper()
		found, _ := newComparer(t, strings.Fields(ignore), nil).compare(t.Context(), s, o)
		if got := describeAll(found); got != want {
			t.Errorf("--ignore %s: %s, want %s", ignore, got, want)
		}
	}
	check("* s* ?* [s]*", `status.details.reason: "a" | "b"`)
	check("status.details", ``)
	check("status.details.reason", ``)
	check("google.rpc.ErrorInfo", ``)
	o.status = status.New(codes.NotFound, "other")
	check("status.details", `status.message: "none" | "other"`)
	check("status.details status.message", ``)
	o.status = status.New(codes.Aborted, "other")
	check("status.details status.message", `status: "NOT_FOUND none" | "ABORTED other"`)
	check("Get:status", ``)
	s.end.Redacted = []string{"details.reason"}
	s.status, o.status = status.FromProto(details("[redacted]")), status.FromProto(details("b"))
	check("nothing", ``)
	s.reset, o.status = true, status.New(codes.NotFound, "x")
	check("nothing", ``)
}

// A field called status isn't the status, and the hint for it doesn't ignore statuses.
func TestFieldCalledStatus(t *testing.T) {
	t.Parallel()
	odd := func(text string) []byte { return append([]byte{0x0a, byte(len(text))}, text...) }
	s, o := ended("/test.S/Status", [][]byte{odd("a")}, [][]byte{odd("b")})
	var h hint
	found, _ := newComparer(t, nil, nil).compare(t.Context(), s, o)
	h.add(&Result{Differences: found})
	if got := Flags(h.values()); got != "--ignore '*.status'" {
		t.Errorf("hint %s", got)
	}
	o.status = status.New(codes.NotFound, "")
	if found, _ = newComparer(t, []string{"*.status"}, nil).compare(t.Context(), s, o); describeAll(found) != `status: "OK" | "NOT_FOUND"` {
		t.Error(describeAll(found))
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s, o := ended("/test.S/Get", nil, nil)
	line := recording.Line{Event: recording.RPCLine, Time: time.Now().Format(time.RFC3339Nano), Type: "server_header", Metadata: map[string][]string{
		"content-type": {"application/grpc"}, "x-a": {"1", "2"}, "x-b-bin": {"AAE="}, "x-token": {trace.Redacted}, "x-c": {"1"}, "x-f": {"1, 2"}, "grpc-encoding": {"gzip"}, "date": {"Fri, 02 Jan 2026 15:04:05 GMT"},
	}}
	s.headers = line.ToEvent().Metadata
	o.headers = metadata.MD{"content-type": {"application/grpc+proto"}, "x-a": {"1", "2"}, "x-b-bin": {"\x00\x01"}, "x-token": {"secret"}, "x-d": {"2"}, "x-f": {"1", "2"}}
	o.trailers = metadata.MD{"x-e": {"3"}}
	found, _ := newComparer(t, nil, nil).compare(t.Context(), s, o)
	if got, want := describeAll(found), `header.x-c: "1" | ; header.x-d:  | "2"; trailer.x-e:  | "3"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if found, _ = newComparer(t, []string{"header.*", "trailer.x-e"}, nil).compare(t.Context(), s, o); len(found) > 0 {
		t.Error(describeAll(found))
	}
}

// Long values are shown around their first difference.
func TestLongValues(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 40_000)
	s, o := ended("/test.S/Get", [][]byte{parse(t, fmt.Sprintf("text: %q", long+"a"+long))}, [][]byte{parse(t, fmt.Sprintf("text: %q", long+"b"+long))})
	found, _ := newComparer(t, nil, nil).compare(t.Context(), s, o)
	if len(found) != 1 || len(found[0].Recorded) > 2*maxShortened || !strings.Contains(found[0].Recorded, "éaé") || !strings.Contains(found[0].Replayed, "ébé") {
		t.Error(describeAll(found))
	}
	a, b := shorten(`"dff56d1d"`, `"x"`, 60)
	if a != `"dff56d1d"` || b != `"x"` {
		t.Errorf("%s, %s", a, b)
	}
	if a, b = shorten(strings.Repeat("x", 100), "", 60); a != strings.Repeat("x", 60)+"…" || b != "" {
		t.Errorf("%s, %s", a, b)
	}
}

// Deep and long messages don't take quadratic time or memory.
func TestBounds(t *testing.T) {
	t.Parallel()
	nested := func(n uint64) []byte {
		data := protowire.AppendVarint([]byte{0x10}, n)
		for range 3000 {
			data = protowire.AppendBytes([]byte{0x3a}, data)
		}
		return data
	}
	s, o := ended("/test.S/Get", [][]byte{nested(1)}, [][]byte{nested(2)})
	found, _ := newComparer(t, nil, []string{"*"}).compare(t.Context(), s, o)
	if len(found) != 1 || !strings.HasSuffix(found[0].Path, ".child.number") {
		t.Errorf("%d differences", len(found))
	}
	var many, none []byte
	for i := range 100_000 {
		many = protowire.AppendVarint(protowire.AppendTag(many, protowire.Number(1000+i), protowire.VarintType), 1)
	}
	s, o = ended("/test.S/Get", [][]byte{many}, [][]byte{none})
	found, complete := newComparer(t, nil, nil).compare(t.Context(), s, o)
	if len(found) != maxFound || complete {
		t.Errorf("%d differences, complete: %v", len(found), complete)
	}
}
