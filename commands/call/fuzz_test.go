package call

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection"
)

const everythingProto = `
	syntax = "proto2";
	package test;
	import "google/protobuf/any.proto";
	import "google/protobuf/duration.proto";
	import "google/protobuf/field_mask.proto";
	import "google/protobuf/struct.proto";
	import "google/protobuf/timestamp.proto";
	import "google/protobuf/wrappers.proto";
	message All {
		optional string some_text = 1;
		optional bytes data = 2;
		optional double d = 3;
		repeated float f = 4 [packed = true];
		repeated sint32 s = 5;
		optional fixed64 x = 6;
		optional bool b = 7;
		repeated Color colors = 8;
		optional All all = 9;
		repeated All list = 10;
		optional group Part = 11 { optional string name = 1; }
		oneof choice { int64 number = 12; string word = 13; }
		map<string, All> by_name = 14;
		map<sint64, bytes> by_int = 15;
		map<uint32, Color> by_uint = 16;
		map<bool, double> by_bool = 17;
		optional google.protobuf.Any any = 18;
		optional google.protobuf.Duration duration = 19;
		optional google.protobuf.Timestamp timestamp = 20;
		optional google.protobuf.FieldMask mask = 21;
		optional google.protobuf.Struct struct = 22;
		optional google.protobuf.Value value = 23;
		optional google.protobuf.ListValue values = 24;
		optional google.protobuf.NullValue null = 25;
		optional google.protobuf.StringValue text_value = 26;
		optional google.protobuf.BytesValue bytes_value = 27;
		optional google.protobuf.FloatValue float_value = 28;
		optional google.protobuf.UInt64Value uint64_value = 29;
		optional google.protobuf.BoolValue bool_value = 30;
		optional string odd = 31 [json_name = "o\"d\\d\nü"];
		extensions 100 to 200;
	}
	enum Color { RED = 0; BLUE = -1; }
	extend All { optional All z = 101; repeated int32 y = 102; optional string x = 103; }`

// everything returns the descriptors of everythingProto and the type All.
func everything(tb testing.TB) (*reflection.Set, protoreflect.MessageDescriptor) {
	tb.Helper()
	set := compile(tb, everythingProto)
	d, err := set.Files().FindDescriptorByName("test.All")
	if err != nil {
		tb.Fatal(err)
	}
	return set, d.(protoreflect.MessageDescriptor)
}

// FormatMessage's results are those of protojson and prototext, without the white space
// that these vary on purpose.
func FuzzFormatMessage(f *testing.F) {
	set, md := everything(f)
	for _, text := range []string{
		`some_text: "a\"\\\n\t\b\f\x01\x7f\u0085ü€😀'/<>&" data: "\x00\xff\x80é" d: -0.0 f: [1e-7, 1e21, inf, nan, 0.1, 16777216] s: [-1, 2] x: 18446744073709551615 b: false colors: [RED, BLUE, 7]`,
		`all: {list: {} list: {all: {}} Part: {name: "n"}} number: -5 null: NULL_VALUE`,
		`by_name: {key: "b" value: {}} by_name: {key: "a" value: {d: 1e300}} by_int: {key: -2 value: "x"} by_int: {key: 1} by_uint: {key: 4294967295 value: BLUE} by_uint: {key: 3} by_bool: {key: true value: -inf} by_bool: {key: false}`,
		`any: {[x.org/test.All]: {any: {[x.org/google.protobuf.Duration]: {seconds: 1}} some_text: "x"}} [test.z]: {[test.y]: 5} [test.y]: 1 [test.y]: 2 [test.x]: ""`,
		`any: {[x/google.protobuf.Any]: {[x/google.protobuf.Any]: {type_url: "x.org/test.All"}}}`,
		`any: {type_url: "x.org/test.All" value: "\xff"}`, `any: {type_url: "test.Missing" value: "abc"}`, `any: {value: "abc"}`, `any: {}`,
		`duration: {seconds: -1 nanos: -5000} timestamp: {seconds: 1700000000 nanos: 1} mask: {paths: ["a_b.c", "d"]}`,
		`struct: {fields: {key: "k" value: {list_value: {values: [{null_value: NULL_VALUE}, {bool_value: true}, {number_value: 1.5}]}}}} value: {string_value: "s"} values: {}`,
		`value: {}`, `value: {number_value: nan}`, `duration: {nanos: 2000000000}`, `mask: {paths: "aB"}`,
		`text_value: {value: "v"} bytes_value: {value: "\xff"} float_value: {value: 0.1} uint64_value: {value: 1} bool_value: {} odd: "x" word: "w"`,
	} {
		m := dynamicpb.NewMessage(md)
		if err := (prototext.UnmarshalOptions{Resolver: set.Types()}).Unmarshal([]byte(text), m); err != nil {
			f.Fatal(text, err)
		}
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for options := range uint8(8) {
			f.Add(data, options)
		}
	}
	f.Add([]byte("\xc0\x0c\x05\xc9\x0c12345678\xcd\x0c1234\xd2\x0c\x02\x1bx\xd3\x0c\x08\x01\xd3\x0c\xd4\x0c\xd4\x0c\x0a\x01\xff"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, options uint8) {
		m := dynamicpb.NewMessage(md)
		types := set.Types()
		if err := unmarshal(data, m, types); err != nil {
			return // not a message
		}
		opts := &FormatOptions{Compact: options&1 != 0, EmitDefaults: options&2 != 0, ProtoNames: options&4 != 0}
		want, wantErr := libraryJSON(m, types, opts)
		got, err := FormatMessage(t.Context(), m, types, opts)
		switch {
		case wantErr != nil && strings.Contains(wantErr.Error(), "unable to resolve"): // printed as bytes
		case fmt.Sprint(err) != fmt.Sprint(wantErr):
			t.Errorf("%+v: error %v, want %v", opts, err, wantErr)
		case got != want:
			t.Errorf("%+v:\n%s\nwant\n%s", opts, got, want)
		}
		opts.Format = Text
		libraryText := strings.TrimSuffix(string(fieldSpace.ReplaceAll(marshalText(t, m, types), []byte("$1 "))), "\n")
		got, err = FormatMessage(t.Context(), m, types, opts)
		if err != nil || !opts.Compact && got != libraryText {
			t.Errorf("text: %v\n%s\nwant\n%s", err, got, libraryText)
		}
	})
}

// libraryJSON formats m with protojson and package json.
func libraryJSON(m proto.Message, types reflection.TypeResolver, opts *FormatOptions) (string, error) {
	data, err := protojson.MarshalOptions{
		AllowPartial: true, UseProtoNames: opts.ProtoNames, EmitUnpopulated: opts.EmitDefaults, Resolver: types,
	}.Marshal(m)
	if err != nil {
		return "", trimError(err)
	}
	data = regexp.MustCompile(`[\x{7f}-\x{9f}]`).ReplaceAllFunc(data, func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, []rune(string(c))[0]) })
	var out bytes.Buffer
	if opts.Compact {
		err = json.Compact(&out, data)
	} else {
		err = json.Indent(&out, data, "", "  ")
	}
	return out.String(), err
}

// fieldSpace matches the spaces after a field's name, of which prototext writes one or two.
var fieldSpace = regexp.MustCompile(`(?m)^(\s*(?:\w+|\[[^\]]*\]):) +`)

func marshalText(t *testing.T, m proto.Message, types reflection.TypeResolver) []byte {
	t.Helper()
	data, err := prototext.MarshalOptions{AllowPartial: true, Multiline: true, EmitUnknown: true, Resolver: types}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
