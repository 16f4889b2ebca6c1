package message

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// oddProto has a type for a receiver, Mine, and those of odd senders, with the same numbers.
const oddProto = `
	syntax = "proto3";
	package odd;
	import "google/protobuf/any.proto";
	import "google/protobuf/duration.proto";
	import "google/protobuf/field_mask.proto";
	import "google/protobuf/struct.proto";
	import "google/protobuf/timestamp.proto";
	import "google/protobuf/wrappers.proto";
	message Mine {
		string s = 1;
		google.protobuf.Timestamp t = 2;
		google.protobuf.Duration d = 3;
		google.protobuf.FieldMask mask = 4;
		google.protobuf.Any any = 5;
		google.protobuf.Value value = 6;
		google.protobuf.Struct struct = 7;
		google.protobuf.ListValue list = 8;
		google.protobuf.StringValue text = 9;
		google.protobuf.DoubleValue number = 10;
		Color color = 11;
		map<string, int32> map = 12;
		repeated string many = 13;
		Mine mine = 14;
		repeated int32 packed = 15;
		google.protobuf.BytesValue data = 16;
		map<string, Mine> mines = 17;
		map<bool, string> texts = 18;
	}
	enum Color { RED = 0; }
	message Time { int64 seconds = 1; int32 nanos = 2; bytes name = 3; }
	message Mask { repeated string paths = 1; }
	message Text { bytes value = 1; }
	message Any { bytes type_url = 1; bytes value = 2; }
	message Theirs {
		bytes s = 1; Time t = 2; Time d = 3; Mask mask = 4; Any any = 5; google.protobuf.Value value = 6; google.protobuf.Struct struct = 7;
		google.protobuf.ListValue list = 8; Text text = 9; google.protobuf.DoubleValue number = 10; int32 color = 11; map<int32, int32> map = 12;
		repeated bytes many = 13; Theirs mine = 14; repeated string packed = 15; map<string, string> mines = 17; map<bool, int64> texts = 18;
		int64 more = 19; double extra = 20; fixed32 hash = 21; repeated string notes = 22; Theirs theirs = 23; bytes raw = 24;
	}
	message Keys { map<int32, bytes> none = 1; repeated Key map = 12; }
	message Key { bytes key = 1; int32 value = 2; }
	message Wrong { int64 s = 1; string t = 2; fixed32 d = 3; bytes any = 5; string color = 11; int32 mine = 14; bytes packed = 15; }`

func TestOddValues(t *testing.T) {
	t.Parallel()
	set := compile(t, oddProto)
	for _, tt := range []struct{ sent, want, note string }{
		{`Theirs s: "\xc3("`, `{"s":{"@text":"�(","@bytes":"wyg="}}`, "odd.Mine.s is not valid UTF-8"},
		{`Theirs many: ["a", "M\xfcller"]`, `{"many":["a",{"@text":"M�ller","@bytes":"TfxsbGVy"}]}`, "odd.Mine.many is not valid UTF-8"},
		{`Theirs mine {mine {s: "\xff"}}`, `{"mine":{"mine":{"s":{"@text":"�","@bytes":"/w=="}}}}`, "odd.Mine.s is not valid UTF-8"},
		{`Theirs text {value: "\xff"}`, `{"text":{"@text":"�","@bytes":"/w=="}}`, "google.protobuf.StringValue.value is not valid UTF-8"},
		{`Keys map {key: "\xff" value: 1}`, `{"map":{"@bytes:/w==":1}}`, "a key of odd.Mine.map is not valid UTF-8"},
		{`Theirs t {seconds: 1099511627776}`, `{"t":{"seconds":"1099511627776"}}`, "google.protobuf.Timestamp: seconds out of range 1099511627776"},
		{`Theirs t {nanos: -1} s: "a"`, `{"s":"a","t":{"nanos":-1}}`, "google.protobuf.Timestamp: nanos out of range -1"},
		{`Theirs d {seconds: 1 nanos: -1}`, `{"d":{"seconds":"1","nanos":-1}}`, "google.protobuf.Duration: signs of seconds and nanos do not match"},
		{`Theirs d {seconds: 1 name: "x"}`, `{"d":{"seconds":"1","+3":"x"}}`, "google.protobuf.Duration has no field 3"},
		{`Theirs mask {paths: ["a.b", "aB"]}`, `{"mask":{"paths":["a.b","aB"]}}`, `google.protobuf.FieldMask.paths contains irreversible value "aB"`},
		{`Theirs value {}`, `{"value":{"@unset":true}}`, "google.protobuf.Value: none of the oneof fields is set"},
		{`Theirs value {number_value: nan}`, `{"value":{"@number":"NaN"}}`, "google.protobuf.Value: NaN is not a number in JSON"},
		{`Theirs list {values {number_value: -inf} values {bool_value: true}}`, `{"list":[{"@number":"-Infinity"},true]}`, "google.protobuf.Value: -Inf is not a number in JSON"},
		{`Theirs struct {fields {key: "k" value {}}}`, `{"struct":{"k":{"@unset":true}}}`, "google.protobuf.Value: none of the oneof fields is set"},
		{`Theirs number {value: nan} color: 7`, `{"number":"NaN","color":7}`, ""},
		{`Theirs any {type_url: "x/odd.Time" value: "\x08\x01"}`, `{"any":{"@type":"x/odd.Time","seconds":"1"}}`, ""},
		{`Theirs any {type_url: "x/odd.Time" value: "\x08"}`, `{"any":{"@type":"x/odd.Time","@error":"the value is not a odd.Time; see @value for raw binary message data","@value":"CA=="}}`, "google.protobuf.Any: the value is not a odd.Time"},
		{`Theirs any {type_url: "x/odd.Mine" value: "\x0a\x01\xff"}`, `{"any":{"@type":"x/odd.Mine","s":{"@text":"�","@bytes":"/w=="}}}`, "odd.Mine.s is not valid UTF-8"},
		{`Theirs any {type_url: "x/google.protobuf.Duration" value: "\x10\x80\x94\xeb\xdc\x03"}`, `{"any":{"@type":"x/google.protobuf.Duration","value":{"nanos":1000000000}}}`, "google.protobuf.Duration: nanos out of range 1000000000"},
		{`Theirs any {type_url: "lost.Type" value: "\x08\x01"}`, `{"any":{"@type":"lost.Type","@error":"lost.Type is not recognized; see @value for raw binary message data","@value":"CAE="}}`, "google.protobuf.Any: lost.Type is not recognized"},
		{`Theirs any {type_url: "\xff"}`, `{"any":{"@type":{"@text":"�","@bytes":"/w=="},"@error":"� is not recognized; see @value for raw binary message data","@value":""}}`, "google.protobuf.Any.type_url is not valid UTF-8"},
		{`Theirs any {value: "\x08\x01"}`, `{"any":{"@error":"the type is missing; see @value for raw binary message data","@value":"CAE="}}`, "google.protobuf.Any: the type is missing"},
		{`Theirs more: 1 extra: 1.5 hash: 255 notes: ["a", "b"] theirs {more: 18014398509481984} raw: "\xff"`, `{"+19":1,"+20":{"@fixed64":"0x3ff8000000000000"},"+21":{"@fixed32":"0x000000ff"},"+22":["a","b"],"+23":{"19":"18014398509481984"},"+24":{"@bytes":"/w=="}}`, "odd.Mine has no field 19"},
		{`Theirs map {key: 1 value: 2}`, `{"+12":{"1":1,"2":2}}`, "the value of odd.Mine.map does not fit its type"},
		{`Theirs mines {key: "k" value: "hello"}`, `{"+17":{"1":"k","2":"hello"}}`, "the value of odd.Mine.mines does not fit its type"},
		{`Theirs texts {key: true value: 5}`, `{"+18":{"1":1,"2":5}}`, "the value of odd.Mine.texts does not fit its type"},
		{`Theirs packed: "\u00ff"`, `{"+15":"ÿ"}`, "the value of odd.Mine.packed does not fit its type"},
		{`Wrong s: 5 t: "hello" d: 1 any: "\xff" color: "red" mine: 6`, `{"+1":5,"+2":"hello","+3":{"@fixed32":"0x00000001"},"+5":{"@bytes":"/w=="},"+11":"red","+14":6}`, "the value of odd.Mine.s does not fit its type"},
	} {
		name, text, _ := strings.Cut(tt.sent, " ")
		theirs := parse(t, set, protoreflect.FullName("odd."+name), text)
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(theirs)
		if err != nil {
			t.Fatal(err)
		}
		m := newMessage(t, set, "odd.Mine")
		Decode(data, m, set.Types())
		var notes []string
		got, err := Format(t.Context(), m, set.Types(), &Options{Compact: true, Note: func(n string) { notes = append(notes, n) }})
		if err != nil || got != tt.want || !json.Valid([]byte(got)) {
			t.Errorf("%s:\n%s, %v, want\n%s", tt.sent, got, err, tt.want)
		}
		if strings.Join(notes, "|") != tt.note {
			t.Errorf("%s: notes %q, want %q", tt.sent, notes, tt.note)
		}
	}
}

// The parts of a message that has been cut off, or isn't one, are all there.
func TestBrokenMessages(t *testing.T) {
	t.Parallel()
	set := compile(t, oddProto)
	for _, tt := range []struct{ data, json, text, raw string }{
		{"\x0a\x01a\x12\x05\x08", `{"s":"a","@rest":"EgUI"}`, `s:"a" # not a field:"\x12\x05\x08"`, `{"1":"a","@rest":"EgUI"}`},
		{"\xff", `{"@rest":"/w=="}`, `# not a field:"\xff"`, `{"@rest":"/w=="}`},
		{"\x0c", `{"@rest":"DA=="}`, `# not a field:"\x0c"`, `{"@rest":"DA=="}`},
		{"\x9b\x01\x08\x01", `{"@rest":"mwEIAQ=="}`, `# not a field:"\x9b\x01\x08\x01"`, `{"@rest":"mwEIAQ=="}`},
		{"\x9b\x01\x08\x01\x9c\x01", `{"+19":{"@group":{"1":1}}}`, `19:{1:1}`, `{"19":{"@group":{"1":1}}}`},
		{"\x62\x05\n\x010\b0", `{"+12":{"1":["0",48]}}`, `12:"\n\x010\x080"`, `{"12":{"1":["0",48]}}`}, // protobuf panics on this one
		{"", `{}`, ``, `{}`},
	} {
		m := newMessage(t, set, "odd.Mine")
		Decode([]byte(tt.data), m, nil)
		got, err := Format(t.Context(), m, nil, &Options{Compact: true})
		if err != nil || got != tt.json {
			t.Errorf("%q: %s, %v, want %s", tt.data, got, err, tt.json)
		}
		if got, err := Format(t.Context(), m, nil, &Options{Compact: true, Encoding: Text}); err != nil || got != tt.text {
			t.Errorf("%q: %s, %v, want %s", tt.data, got, err, tt.text)
		}
		if got, err := Raw(t.Context(), []byte(tt.data), &Options{Compact: true}); err != nil || got != tt.raw {
			t.Errorf("%q: %s, %v, want %s", tt.data, got, err, tt.raw)
		}
	}
}

// Bytes that are both text and a message are text.
func TestRawBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ bytes, want string }{
		{"(A", `"(A"`},
		{"", `""`},
		{"\x08\x01", `{"1":1}`},
		{"\x08", `{"@bytes":"CA=="}`},
		{"M\xfcller", `{"@bytes":"TfxsbGVy"}`},
		{"é\n\t\"", `"é\n\t\""`},
		{"\x0a\x02\x08\x01\x0a\x01a\x12\x00", `{"1":[{"1":1},"a"],"2":""}`},
	} {
		data := protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), []byte(tt.bytes))
		if got, err := Raw(t.Context(), data, &Options{Compact: true}); err != nil || got != `{"7":`+tt.want+`}` {
			t.Errorf("%q: %s, %v, want %s", tt.bytes, got, err, tt.want)
		}
	}
}

// A deeply nested message, and one with many fields, take time and memory in proportion to
// their length.
func TestRawBounded(t *testing.T) {
	var deep []byte
	for range 5000 {
		deep = protowire.AppendBytes([]byte{0x0a}, deep)
	}
	groups := append(append(make([]byte, 0, 20000), []byte(strings.Repeat("\x0b", 5000))...), []byte(strings.Repeat("\x0c", 5000))...)
	many := []byte(strings.Repeat("\x08\x01", maxRawFields+2))
	for name, data := range map[string][]byte{"deep": deep, "groups": groups, "many": many} {
		before := allocated()
		got, err := Raw(t.Context(), data, &Options{Compact: true})
		if err != nil || !json.Valid([]byte(got)) || len(got) > 100+4*len(data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if used := allocated() - before; used > 512<<20 {
			t.Errorf("%s: %d MiB allocated", name, used>>20)
		}
		set := compile(t, `syntax = "proto2"; package test; message M { repeated group G = 1 { repeated M m = 1; optional group G = 2 {} } }`)
		m := newMessage(t, set, "test.M")
		Decode(data, m, nil)
		if got, err := Format(t.Context(), m, nil, &Options{Compact: true}); err != nil || !json.Valid([]byte(got)) || len(got) > 100+8*len(data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// A server may define types with names that are not valid UTF-8.
func TestInvalidNames(t *testing.T) {
	t.Parallel()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("a.proto"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: new("f"), Number: new(int32(1)), JsonName: new("\xff\"\n"),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum(),
		}}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(file.Messages().Get(0))
	Decode([]byte("\x08\x05"), m, nil)
	if got, err := Format(t.Context(), m, nil, &Options{Compact: true}); err != nil || got != `{"�\"\n":5}` {
		t.Errorf("%s, %v", got, err)
	}
}
