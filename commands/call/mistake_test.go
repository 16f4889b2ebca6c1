package call

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/message"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	set := compile(t, `
		syntax = "proto3";
		package test;
		import "google/protobuf/any.proto";
		import "google/protobuf/duration.proto";
		import "google/protobuf/field_mask.proto";
		import "google/protobuf/struct.proto";
		import "google/protobuf/timestamp.proto";
		import "google/protobuf/wrappers.proto";
		message M {
			string name = 1;
			google.protobuf.Duration tick = 2;
			google.protobuf.Timestamp created_at = 3;
			google.protobuf.FieldMask update_mask = 4;
			google.protobuf.Any any = 5;
			google.protobuf.Struct labels = 6;
			google.protobuf.ListValue list = 7;
			google.protobuf.Int32Value limit = 8;
			repeated M children = 9;
			map<string, M> by_name = 10;
			map<int32, bytes> data = 11;
			Color color = 12;
			repeated uint32 sizes = 13;
			double ratio = 14;
			bool on = 15;
			google.protobuf.BytesValue raw = 16;
			oneof one { string this = 17; string that = 18; }
		}
		enum Color { RED = 0; GREEN = 1; }`)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ in, want, suggestion string }{
		{`{"tick": 5}`, `"tick": want a duration such as "0.5s", not 5`, ""},
		{`{"tick": "5 min"}`, `"tick": want a duration such as "0.5s", not "5 min"`, ""},
		{`{"tick": "999999999999s"}`, `"tick": want a duration such as "0.5s", not "999999999999s"`, ""},
		{`{"createdAt": "today"}`, `"createdAt": want a timestamp such as "2006-01-02T15:04:05Z", not "today"`, ""},
		{`{"updateMask": {"paths": ["a"]}}`, `"updateMask": want a field mask such as "name,address.city", not an object`, ""},
		{`{"update_mask": "a b"}`, `"update_mask": want a field mask such as "name,address.city", not "a b"`, ""},
		{`{"labels": []}`, `"labels": want an object such as {"key": "value"}, not a list`, ""},
		{`{"list": {}}`, `"list": want a list such as [1, "a"], not an object`, ""},
		{`{"limit": "many"}`, `"limit": want an int32 such as 42, not "many"`, ""},
		{`{"raw": "é"}`, `"raw": want bytes in base64 such as "AAE=", not "é"`, ""},
		{`{"name": 1}`, `"name": want a string such as "text", not 1`, ""},
		{`{"children": [{}, {"children": [{"tick": true}]}]}`, `"children[1].children[0].tick": want a duration such as "0.5s", not true`, ""},
		{`{"children": {}}`, `"children": want a list such as [{"name": "text"}], not an object`, ""},
		{`{"children": [{}, 5]}`, `"children[1]": want a test.M such as {"name": "text"}, not 5`, ""},
		{`{"byName": {"k": {"ratio": "half"}}}`, `"byName.k.ratio": want a double such as 0.5, not "half"`, ""},
		{`{"byName": []}`, `"byName": want a map such as {"text": {"name": "text"}}, not a list`, ""},
		{`{"data": {"1": "?"}}`, `"data.1": want bytes in base64 such as "AAE=", not "?"`, ""},
		{`{"data": {"one": ""}}`, `"data.one": invalid value for int32 key: "one"`, ""},
		{`{"color": "GREN"}`, `"color": want a test.Color such as "RED", not "GREN"`, `did you mean "GREEN"?`},
		{`{"sizes": [1, -1]}`, `"sizes[1]": want a uint32 such as 42, not -1`, ""},
		{`{"on": "yes"}`, `"on": want a bool such as true, not "yes"`, ""},
		{`{"nam": "x"}`, `unknown field "nam"`, `did you mean "name"?`},
		{`{"children": [{"creatdAt": 1}]}`, `unknown field "children[0].creatdAt"`, `did you mean "createdAt"?`},
		{`{"byName": {"k": {"zzz": 1}}}`, `unknown field "byName.k.zzz"`, ""},
		{`{"tick": "1s", "tick": "2s"}`, `"tick": duplicate field "tick"`, ""},
		{`{"this": "a", "that": "b"}`, `"that": error parsing "that", oneof test.M.one is already set`, ""},
		{`{"any": {"@type": "x/test.M", "tick": 5}}`, `"any.tick": unexpected token 5`, ""},
		{`{"any": {"@type": "x/test.N"}}`, `"any.@type": unable to resolve "x/test.N": "not found"`, ""},
		{`[]`, `want a test.M such as {"name": "text"}, not a list`, ""},
		{`{"name": "\ud800"}`, `"name": \ud800 is half of a surrogate pair: the other half is missing`, ""},
		{`{"children": [{"name": "\\ud83d\uDE00 \ud83d\ude00 \\"}]}`, `"children[0].name": \uDE00 is half of a surrogate pair: the other half is missing`, ""},
		{`{"\udc00": 1}`, `"` + "�" + `": \udc00 is half of a surrogate pair: the other half is missing`, ""},
		{`{"name": "` + strings.Repeat("x", 1000) + `", "on": "` + strings.Repeat("y", 1000) + `"}`, `"on": want a bool such as true, not "` + strings.Repeat("y", 59) + "…", ""},
	} {
		m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
		err := NewRequests(strings.NewReader("\n\n"+tt.in), message.JSON, set.Types(), nil).Next(testContext(t), m)
		re, ok := errors.AsType[*RequestError](err)
		if !ok || strings.ReplaceAll(re.Err.Error(), "\u00a0", " ") != tt.want || re.Line != 3 || Suggestion(err) != tt.suggestion {
			t.Errorf("%s: %v, suggestion %q; want %s, %q", tt.in, err, Suggestion(err), tt.want, tt.suggestion)
		}
	}
}

// FuzzMistakes checks that any mistake can be explained.
func FuzzMistakes(f *testing.F) {
	set := compile(f, echoProto)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{`{"someText": "\ud800"}`, `{"numbers": {"a": [1]}}`, `{"any": {"@type": "x/test.M", "color": {}}}`, "[\n1]", `{"é": 1}`, `{"a":{}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		requests := NewRequests(strings.NewReader(text), message.JSON, set.Types(), nil)
		for range 3 {
			if err := requests.Next(t.Context(), dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))); err != nil && err.Error() == "" {
				t.Errorf("%q: no text", text)
			}
		}
	})
}
