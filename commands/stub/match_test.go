package stub_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/structpb"   // a dependency of testFile
	_ "google.golang.org/protobuf/types/known/wrapperspb" // likewise
)

// testFile has a message with every kind of field, and methods with special messages.
// Only its imports are linked into the program.
const testFile = `
	name: "t.proto" package: "t" syntax: "proto2"
	dependency: ["google/protobuf/struct.proto", "google/protobuf/wrappers.proto", "google/protobuf/any.proto", "lost.proto"]
	message_type {
		name: "All"
		field { name: "plain" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
		field { name: "a_text" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
		field { name: "data" number: 3 type: TYPE_BYTES label: LABEL_OPTIONAL }
		field { name: "real" number: 4 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
		field { name: "yes" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL }
		field { name: "color" number: 6 type: TYPE_ENUM type_name: ".t.Color" label: LABEL_OPTIONAL }
		field { name: "all" number: 7 type: TYPE_MESSAGE type_name: ".t.All" label: LABEL_OPTIONAL }
		field { name: "numbers" number: 8 type: TYPE_UINT32 label: LABEL_REPEATED }
		field { name: "list" number: 9 type: TYPE_MESSAGE type_name: ".t.All" label: LABEL_REPEATED }
		field { name: "names" number: 10 type: TYPE_MESSAGE type_name: ".t.All.NamesEntry" label: LABEL_REPEATED }
		field { name: "by_id" number: 11 type: TYPE_MESSAGE type_name: ".t.All.ByIdEntry" label: LABEL_REPEATED }
		field { name: "struct" number: 12 type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" label: LABEL_OPTIONAL }
		field { name: "value" number: 13 type: TYPE_MESSAGE type_name: ".google.protobuf.Value" label: LABEL_OPTIONAL }
		field { name: "any" number: 14 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL }
		field { name: "wrapped" number: 15 type: TYPE_MESSAGE type_name: ".google.protobuf.Int32Value" label: LABEL_OPTIONAL }
		nested_type {
			name: "NamesEntry" options { map_entry: true }
			field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
		}
		nested_type {
			name: "ByIdEntry" options { map_entry: true }
			field { name: "key" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
			field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".t.All" label: LABEL_OPTIONAL }
		}
		extension_range { start: 100 end: 200 }
	}
	message_type {
		name: "Strict"
		field { name: "must" number: 1 type: TYPE_STRING label: LABEL_REQUIRED }
		field { name: "may" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
	}
	extension { name: "extra" number: 100 type: TYPE_STRING label: LABEL_OPTIONAL extendee: ".t.All" }
	enum_type { name: "Color" value { name: "RED" number: 0 } value { name: "BLUE" number: 1 } }
	service {
		name: "T"
		method { name: "Match" input_type: ".t.All" output_type: ".google.protobuf.StringValue" }
		method { name: "Strict" input_type: ".t.Strict" output_type: ".t.Strict" }
		method { name: "Value" input_type: ".google.protobuf.Value" output_type: ".google.protobuf.Value" }
		method { name: "All" input_type: ".t.All" output_type: ".t.All" }
		method { name: "Lost" input_type: ".t.All" output_type: ".lost.Message" }
	}`

// testFiles returns testFile with its imports except lost.proto.
func testFiles(t *testing.T) *protoregistry.Files {
	t.Helper()
	desc := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(testFile), desc); err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.FileOptions{AllowUnresolvable: true}.New(desc, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := new(protoregistry.Files)
	for i := range file.Imports().Len() - 1 { // lost.proto is the last
		if err := files.RegisterFile(file.Imports().Get(i).FileDescriptor); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	return files
}

// call calls a method of t.T with a request in JSON, and returns the response in JSON.
func call(t *testing.T, rules, method, request string) (string, error) {
	t.Helper()
	files := testFiles(t)
	_, _, conn := serve(t, "methods: {t.T/"+method+": "+rules+"}", files)
	desc, err := files.FindDescriptorByName(protoreflect.FullName("t.T." + method))
	if err != nil {
		t.Fatal(err)
	}
	md, ok := desc.(protoreflect.MethodDescriptor)
	if !ok {
		t.Fatalf("%v is not a method", desc)
	}
	req, resp := dynamicpb.NewMessage(md.Input()), dynamicpb.NewMessage(md.Output())
	if err := (protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(files)}).Unmarshal([]byte(request), req); err != nil {
		t.Fatal(err)
	}
	if err := conn.Invoke(t.Context(), "/t.T/"+method, req, resp); err != nil {
		return "", err
	}
	// The codec doesn't know the extensions.
	raw, err := proto.Marshal(resp)
	if err != nil {
		t.Fatal(err)
	}
	if err := (proto.UnmarshalOptions{Resolver: dynamicpb.NewTypes(files)}).Unmarshal(raw, resp); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.MarshalOptions{Resolver: dynamicpb.NewTypes(files)}.Marshal(resp)
	return string(text), err
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		when, request string // YAML and JSON
		want          bool
	}{
		{`{}`, `{}`, true},
		{`{}`, `{"plain": 1}`, true},
		{`{plain: 1}`, `{"plain": "1", "aText": "a"}`, true},
		{`{plain: 0x10}`, `{"plain": 16}`, true},
		{`{plain: 9007199254740993}`, `{"plain": "9007199254740993"}`, true},
		{`{plain: 1}`, `{"plain": 2}`, false},
		{`{plain: 1}`, `{}`, false},
		{`{plain: 0}`, `{}`, false}, // the field has presence
		{`{plain: 0}`, `{"plain": 0}`, true},
		{`{plain: null}`, `{}`, true},
		{`{plain: null}`, `{"plain": 0}`, false},
		{`{a_text: a}`, `{"aText": "a"}`, true},
		{`{aText: a}`, `{"aText": "a"}`, true},
		{`{aText: a}`, `{"aText": "A"}`, false},
		{`{plain: 1, aText: a}`, `{"plain": 1}`, false},
		{`{data: !!binary AAH/}`, `{"data": "AAH/"}`, true},
		{`{data: AAE=}`, `{"data": "AAH/"}`, false},
		{`{real: .5}`, `{"real": 0.5}`, true},
		{`{real: 1.}`, `{"real": 1}`, true},
		{`{real: .nan}`, `{"real": "NaN"}`, true},
		{`{real: -.inf}`, `{"real": "-Infinity"}`, true},
		{`{real: +.inf}`, `{"real": 1e308}`, false},
		{`{yes: True}`, `{"yes": true}`, true},
		{`{yes: false}`, `{"yes": true}`, false},
		{`{color: BLUE}`, `{"color": 1}`, true},
		{`{color: 0}`, `{"color": "BLUE"}`, false},

		{`{all: {}}`, `{}`, false},
		{`{all: {}}`, `{"all": {}}`, true},
		{`{all: {plain: 1}}`, `{"all": {"plain": 1, "aText": "b"}}`, true},
		{`{all: {all: {plain: 1}}}`, `{"all": {"plain": 1}}`, false},
		{`{all: null}`, `{}`, true},
		{`{all: null}`, `{"all": {}}`, false},

		{`{numbers: []}`, `{}`, true},
		{`{numbers: []}`, `{"numbers": [1]}`, false},
		{`{numbers: [1, 2]}`, `{"numbers": [1, 2]}`, true},
		{`{numbers: [1, 2]}`, `{"numbers": [2, 1]}`, false},
		{`{numbers: [1, 2]}`, `{"numbers": [1, 2, 3]}`, false},
		{`{list: [{plain: 1}, {}]}`, `{"list": [{"plain": 1, "aText": "b"}, {"plain": 2}]}`, true},
		{`{list: [{plain: 1}, {}]}`, `{"list": [{"plain": 2}, {}]}`, false},

		{`{names: {}}`, `{"names": {"a": "b"}}`, true},
		{`{names: {a: b}}`, `{"names": {"a": "b", "c": "d"}}`, true},
		{`{names: {a: b}}`, `{"names": {"a": "c"}}`, false},
		{`{names: {a: ""}}`, `{}`, false},
		{`{byId: {1: {plain: 1}}}`, `{"byId": {"1": {"plain": 1, "aText": "b"}}}`, true},
		{`{byId: {1: {plain: 1}}}`, `{"byId": {"2": {"plain": 1}}}`, false},
		{`{byId: {+1: {plain: 1}}}`, `{"byId": {"1": {"plain": 1}}}`, true},

		{`{struct: {a: [1, null]}}`, `{"struct": {"a": [1, null]}}`, true},
		{`{struct: {a: 1}}`, `{"struct": {"a": 1, "b": 2}}`, false}, // a Struct matches as a whole
		{`{value: null}`, `{"value": null}`, true},
		{`{value: null}`, `{}`, false},
		{`{value: [a]}`, `{"value": ["a"]}`, true},
		{`{wrapped: 0}`, `{"wrapped": 0}`, true},
		{`{wrapped: 0}`, `{}`, false},
		{`{wrapped: null}`, `{}`, true},
		{`{any: {'@type': x/t.All, plain: 1}}`, `{"any": {"@type": "x/t.All", "plain": 1}}`, true},
		{`{any: {'@type': x/t.All, plain: 1}}`, `{"any": {"@type": "x/t.All", "plain": 2}}`, false},
	} {
		want := `"no"`
		if tt.want {
			want = `"yes"`
		}
		got, err := call(t, fmt.Sprintf("[{when: %s, reply: 'yes'}, {reply: 'no'}]", tt.when), "Match", tt.request)
		if err != nil || got != want {
			t.Errorf("when %s: %s = %s, %v, want %s", tt.when, tt.request, got, err, want)
		}
	}
}

// TestSpecialMessages has responses that aren't mappings, that have required fields and
// that have extensions.
func TestSpecialMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, rules, request, want string }{
		{"Value", "{reply: null}", "1", "null"},
		{"Value", "[{when: 2, reply: 3}, {when: [a], reply: 4}]", `["a"]`, "4"},
		{"Strict", "{when: {may: a}, reply: {must: b}}", `{"may":"a","must":"c"}`, `{"must":"b"}`},
		{"All", "{reply: {'[t.extra]': x}}", `{}`, `{"[t.extra]":"x"}`},
	} {
		if got, err := call(t, tt.rules, tt.method, tt.request); err != nil || got != tt.want {
			t.Errorf("%s with %s: %s = %s, %v, want %s", tt.method, tt.rules, tt.request, got, err, tt.want)
		}
	}
	_, err := call(t, "{when: 1, reply: 2}", "Value", "2")
	wantStatus(t, "Value", err, codes.Unimplemented, "stub: no rule for /t.T/Value matches the request")

	for rules, want := range map[string]string{
		"Strict: {reply: {may: a}}":                             "f:2: reply is not a valid t.Strict: required field t.Strict.must not set",
		"All: {when: {'[t.extra]': x}, reply: {}}":              `f:2: when cannot match the extension "[t.extra]"`,
		"Lost: {reply: {}}":                                     `f:2: method "t.T/Lost" needs lost.Message, which the descriptors lack`,
		"All: {reply: {any: {'@type': x/t.Nothing}}}":           `f:2: reply is not a valid t.All: unable to resolve "x/t.Nothing": "not found"`,
		"All: {reply: {any: {'@type': x/t.All,\n  plain: []}}}": `f:3: reply is not a valid t.All: invalid value for int64 field plain: list`,
	} {
		wantErrors(t, "methods:\n  t.T/"+rules, testFiles(t), want)
	}
}
