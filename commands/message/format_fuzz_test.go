package message

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
	"github.com/wstun/wstun/tunnel/escape"
)

const everythingProto = `
	syntax = "proto2";
	package test;
	import "google/protobuf/any.proto";
	import "google/protobuf/duration.proto";
	import "google/protobuf/empty.proto";
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
		optional google.protobuf.Empty nothing = 32;
		optional string odd = 31 [json_name = "o\"d\\d\nü"];
		extensions 100 to 200;
	}
	enum Color { RED = 0; BLUE = -1; }
	message Little {
		optional string some_text = 1;
		optional google.protobuf.Any any = 2;
		optional Color color = 3 [default = BLUE];
		optional string name = 5 [default = "x"];
		map<string, int64> numbers = 4;
	}
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

// Format's results are those of protojson and prototext, without the white space that these
// vary on purpose. Messages that protojson refuses, or of which it drops a part, have a note
// and are valid JSON. The results of the others parse back.
func FuzzFormat(f *testing.F) {
	set, md := everything(f)
	for _, text := range []string{
		`some_text: "a\"\\\n\t\b\f\x01\x7f\u0085ü€😀'/<>&" data: "\x00\xff\x80é" d: -0.0 f: [1e-7, 1e21, inf, nan, 0.1, 16777216] s: [-1, 2] x: 18446744073709551615 b: false colors: [RED, BLUE, 7]`,
		`all: {list: {} list: {all: {}} Part: {name: "n"}} number: -5 null: NULL_VALUE`,
		`by_name: {key: "b" value: {}} by_name: {key: "a" value: {d: 1e300}} by_int: {key: -2 value: "x"} by_int: {key: 1} by_uint: {key: 4294967295 value: BLUE} by_uint: {key: 3} by_bool: {key: true value: -inf} by_bool: {key: false}`,
		`any: {[x.org/test.All]: {any: {[x.org/google.protobuf.Duration]: {seconds: 1}} some_text: "x"}} [test.z]: {[test.y]: 5} [test.y]: 1 [test.y]: 2 [test.x]: ""`,
		`any: {[x/google.protobuf.Any]: {[x/google.protobuf.Any]: {type_url: "x.org/test.All"}}}`,
		`any: {type_url: "x.org/test.All" value: "\xff"}`, `any: {type_url: "test.Missing" value: "abc"}`, `any: {value: "abc"}`, `any: {}`, `any: {[x/google.protobuf.Empty]: {}} nothing: {}`,
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
	f.Add([]byte("\xca\x01\x01\x05"), uint8(0))                         // a NullValue in a ListValue
	f.Add([]byte("\xa2\x01\x07\x08\x80\x80\x80\x80\x80\x20"), uint8(0)) // a Timestamp out of range
	f.Add([]byte("\x0a\x02\xc3\x28\x12\x05ab"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, options uint8) {
		m := dynamicpb.NewMessage(md)
		types := set.Types()
		Decode(data, m, types)
		var notes []string
		opts := &Options{
			Compact: options&1 != 0, EmitDefaults: options&2 != 0, ProtoNames: options&4 != 0,
			Note: func(reason string) { notes = append(notes, reason) },
		}
		got, err := Format(t.Context(), m, types, opts)
		if err != nil || !json.Valid([]byte(got)) || len(notes) > 1 || len(got) > 100_000+500*len(data) {
			t.Fatalf("%+v: %s, notes %q, %v", opts, got, notes, err)
		}
		if len(notes) == 0 {
			checkDecoded(t, data, m, types)
			checkCanonical(t, got, m, types, opts)
		}
		raw, err := Raw(t.Context(), data, opts)
		if err != nil || !json.Valid([]byte(raw)) || len(raw) > 100+50*len(data) {
			t.Fatalf("%+v: raw %s, %v", opts, raw, err)
		}
		opts.Encoding = Text
		got, err = Format(t.Context(), m, types, opts)
		if err != nil {
			t.Fatal(err)
		}
		// prototext drops the unknown fields of an Any, and reads URLs that Format doesn't.
		special := strings.Contains(got, "type_url: ") || len(notes) > 0 && strings.Contains(got, "any: ")
		if _, err := libraryJSON(m, types, opts); err == nil && !opts.Compact && !special && isMessage(m.GetUnknown()) {
			if want, err := libraryText(m, types); err == nil && got != want {
				t.Errorf("text:\n%s\nwant\n%s", got, want)
			}
		}
	})
}

// checkDecoded compares m with the result of proto.Unmarshal.
func checkDecoded(t *testing.T, data []byte, m proto.Message, types reflection.TypeResolver) {
	t.Helper()
	want := m.ProtoReflect().New().Interface()
	err := proto.UnmarshalOptions{AllowPartial: true, Resolver: types}.Unmarshal(data, want)
	if err != nil && strings.Contains(err.Error(), "invalid UTF-8") {
		return // in a value that a later one replaces
	}
	if err != nil || !proto.Equal(m, want) {
		t.Errorf("%x is\n%v, want\n%v, %v", data, m, want, err)
	}
}

// checkCanonical compares the JSON of m with protojson's, and its contents with m.
func checkCanonical(t *testing.T, got string, m proto.Message, types reflection.TypeResolver, opts *Options) {
	t.Helper()
	differs := opts.EmitDefaults || strings.Contains(got, "google.protobuf.Empty") // as grpcurl
	want, err := libraryJSON(m, types, opts)
	if err != nil && strings.Contains(err.Error(), "invalid UTF-8") {
		return // in a value that a later one replaces
	}
	if err != nil || !differs && got != want {
		t.Errorf("%+v:\n%s\nwant\n%s, %v", opts, got, want, err)
	}
	parsed := m.ProtoReflect().New().Interface()
	if err := (protojson.UnmarshalOptions{AllowPartial: true, Resolver: types}).Unmarshal([]byte(got), parsed); err != nil {
		t.Errorf("%+v: %s: %v", opts, got, err)
	}
	again, err := Format(t.Context(), parsed, types, opts)
	same := proto.Equal(parsed, m) || strings.Contains(got, "@type") || strings.Contains(got, "null") // which stand for several encodings
	if !opts.EmitDefaults && (err != nil || again != got || !same) {
		t.Errorf("%s reads\n%v, want\n%v", got, parsed, m)
	}
}

// libraryJSON formats m with protojson and package json.
func libraryJSON(m proto.Message, types reflection.TypeResolver, opts *Options) (string, error) {
	data, err := protojson.MarshalOptions{
		AllowPartial: true, UseProtoNames: opts.ProtoNames, EmitUnpopulated: opts.EmitDefaults, Resolver: types,
	}.Marshal(m)
	if err != nil {
		return "", TrimError(err)
	}
	data = regexp.MustCompile(`[\x{7f}-\x{9f}]`).ReplaceAllFunc(data, func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, []rune(string(c))[0]) })
	var out bytes.Buffer
	if opts.Compact {
		err = json.Compact(&out, data)
	} else {
		err = json.Indent(&out, data, "", "  ")
	}
	return escape.Text(out.String()), err
}

// fieldSpace matches the spaces after a field's name, of which prototext writes one or two.
var fieldSpace = regexp.MustCompile(`(?m)^(\s*(?:\w+|\[[^\]]*\]):) +`)

// libraryText formats m with prototext, which refuses strings that aren't valid UTF-8.
func libraryText(m proto.Message, types reflection.TypeResolver) (string, error) {
	data, err := prototext.MarshalOptions{AllowPartial: true, Multiline: true, EmitUnknown: true, Resolver: types}.Marshal(m)
	return escape.Text(strings.TrimSuffix(string(fieldSpace.ReplaceAll(data, []byte("$1 "))), "\n")), err
}
