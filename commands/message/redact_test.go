package message

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/reflection"
)

const redactProto = `
	syntax = "proto2";
	package redact;
	import "google/protobuf/any.proto";
	message M {
		optional string name = 1;
		optional string secret_text = 2;
		optional bytes secret_data = 3;
		repeated int64 secret_numbers = 4 [packed = true];
		optional M nested = 5;
		map<string, M> by_name = 6;
		optional google.protobuf.Any any = 7;
		optional group Group = 8 { optional string secret_text = 1; optional int32 other = 2; }
		repeated string secret_list = 9;
		optional Plain plain = 10;
		map<string, string> secret_map = 11;
		extensions 100 to 200;
	}
	message Plain { optional string text = 1; optional Plain again = 2; }
	extend M { optional string secret_ext = 100; }`

// marshal returns a redact.M in binary.
func marshal(tb testing.TB, set *reflection.Set, text string) []byte {
	tb.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(parse(tb, set, "redact.M", text))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func newRedactor() *Redactor {
	return &Redactor{IsSecret: func(fd protoreflect.FieldDescriptor) bool { return strings.HasPrefix(string(fd.Name()), "secret") }}
}

// Each secret is removed, wherever it is, and nothing else.
func TestRedact(t *testing.T) {
	t.Parallel()
	set := compile(t, redactProto)
	md := newMessage(t, set, "redact.M").ProtoReflect().Descriptor()
	field := func(text string) []byte { return marshal(t, set, text) }
	inAny := func(name, text string) []byte {
		value, err := proto.Marshal(&anypb.Any{TypeUrl: "type.googleapis.com/" + name, Value: field(text)})
		if err != nil {
			t.Fatal(err)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), value)
	}
	for _, test := range []struct{ name, data, want, paths string }{
		{"none", string(field(`name: "x"`)), string(field(`name: "x"`)), "[]"},
		{"string", string(field(`name: "x" secret_text: "S"`)), string(field(`name: "x" secret_text: "[redacted]"`)), "[secret_text]"},
		{"bytes", string(field(`secret_data: "S"`)), string(field(`secret_data: "[redacted]"`)), "[secret_data]"},
		{"numbers", string(field(`secret_numbers: [7, 8] name: "x"`)), string(field(`name: "x"`)), "[secret_numbers]"},
		{"nested", string(field(`nested { nested { secret_text: "S" name: "y" } }`)), string(field(`nested { nested { secret_text: "[redacted]" name: "y" } }`)), "[nested.nested.secret_text]"},
		{"map", string(field(`by_name { key: "k" value { secret_text: "S" } }`)), string(field(`by_name { key: "k" value { secret_text: "[redacted]" } }`)), "[by_name.secret_text]"},
		{"secret map", string(field(`secret_map { key: "k" value: "S" } name: "x"`)), string(field(`name: "x"`)), "[secret_map]"},
		{"any", string(inAny("redact.M", `secret_text: "S"`)), string(inAny("redact.M", `secret_text: "[redacted]"`)), "[any.secret_text]"},
		{"unknown any", string(inAny("redact.Unknown", `secret_text: "S"`)), string(inAny("redact.Unknown", `secret_text: "S"`)), "[]"},
		{"group", string(field(`Group { secret_text: "S" other: 1 }`)), string(field(`Group { secret_text: "[redacted]" other: 1 }`)), "[group.secret_text]"},
		{"list", string(field(`secret_list: "S" secret_list: "T"`)), string(field(`secret_list: "[redacted]" secret_list: "[redacted]"`)), "[secret_list]"},
		{"plain", string(field(`plain { text: "S" again { text: "T" } }`)), string(field(`plain { text: "S" again { text: "T" } }`)), "[]"},
		{"extension", string(field(`[redact.secret_ext]: "S"`)), string(field(`[redact.secret_ext]: "[redacted]"`)), "[secret_ext]"},
		{"unknown field", "\xf8\x01\x07" + string(field(`secret_text: "S"`)), "\xf8\x01\x07" + string(field(`secret_text: "[redacted]"`)), "[secret_text]"},
		{"another type on the wire", "\x10\x07\x1d1234", "", "[secret_data secret_text]"},
		{"cut off", string(field(`name: "x"`)) + "\x12\x7fS", string(field(`name: "x"`)), "[@rest]"},
		{"cut off in a message", "\x2a\x03\x12\x7fS", "\x2a\x00", "[nested.@rest]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			original := strings.Clone(test.data)
			got, paths := newRedactor().Redact([]byte(test.data), md, set.Types())
			if string(got) != test.want || fmt.Sprint(paths) != test.paths {
				t.Errorf("Redact = %s %v, want %s %s", hex.EncodeToString(got), paths, hex.EncodeToString([]byte(test.want)), test.paths)
			}
			if test.data != original {
				t.Error("data has been changed")
			}
		})
	}
}

// With HideUnknown, bytes without a field name are removed, too.
func TestRedactHideUnknown(t *testing.T) {
	t.Parallel()
	md := (&anypb.Any{}).ProtoReflect().Descriptor()
	data, err := proto.Marshal(&anypb.Any{TypeUrl: "x/unknown.T", Value: []byte("S")})
	if err != nil {
		t.Fatal(err)
	}
	r := &Redactor{IsSecret: func(protoreflect.FieldDescriptor) bool { return false }, HideUnknown: true}
	got, paths := r.Redact(append(data, "\x78\x07\x08\x05"...), md, nil)
	a := &anypb.Any{}
	if err := proto.Unmarshal(got, a); err != nil || a.GetTypeUrl() != "x/unknown.T" || len(a.GetValue()) > 0 || len(a.ProtoReflect().GetUnknown()) > 0 {
		t.Errorf("Redact = %q, %v", got, err)
	}
	if fmt.Sprint(paths) != "[+1 +15 value]" {
		t.Errorf("paths = %v", paths)
	}
}

// Deep messages don't take time in proportion to the square of their depth.
func TestRedactDepth(t *testing.T) {
	t.Parallel()
	md := newMessage(t, compile(t, redactProto), "redact.M").ProtoReflect().Descriptor()
	data := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "S")
	for range 5000 {
		data = protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), data)
	}
	got, paths := newRedactor().Redact(data, md, nil)
	if len(got) > 1000 || len(paths) != 1 || !strings.HasSuffix(paths[0], ".@rest") {
		t.Errorf("%d bytes, paths %.100q", len(got), paths)
	}
}

// Each type is searched for secrets once, however they refer to each other.
func TestRedactTypes(t *testing.T) {
	t.Parallel()
	const types = 200
	var source strings.Builder
	source.WriteString("syntax = \"proto3\"; package redact;\n")
	for i := range types {
		fmt.Fprintf(&source, "message M%d { M%d next = 1; M%d first = 2; Plain plain = 3; string %s = 4; }\n", i, min(i+1, types-1), i/2*2, map[bool]string{true: "secret"}[i == types-1]+"text")
	}
	source.WriteString("message Plain { Plain again = 1; map<string, Plain> many = 2; }\n")
	set := compile(t, source.String())
	r, asked := newRedactor(), 0
	isSecret := r.IsSecret
	r.IsSecret = func(fd protoreflect.FieldDescriptor) bool {
		asked++
		return isSecret(fd)
	}
	plain := newMessage(t, set, "redact.Plain").ProtoReflect().Descriptor()
	for i := range types {
		if md := newMessage(t, set, protoreflect.FullName(fmt.Sprintf("redact.M%d", i))).ProtoReflect().Descriptor(); !r.isConcerned(md) {
			t.Errorf("M%d isn't concerned", i)
		}
	}
	if r.isConcerned(plain) {
		t.Error("a type without secrets is concerned")
	}
	if most := 4*types + 2; asked > most {
		t.Errorf("asked for %d fields, want up to %d", asked, most)
	}
}

// A secret never passes, and a message without secrets isn't changed.
func FuzzRedact(f *testing.F) {
	set := compile(f, redactProto)
	md, plain := newMessage(f, set, "redact.M").ProtoReflect().Descriptor(), newMessage(f, set, "redact.Plain").ProtoReflect().Descriptor()
	resolver := set.Types()
	for _, text := range []string{`secret_text: "S"`, `nested { secret_list: "S" secret_list: "S" }`, `by_name { key: "k" value { secret_data: "S" } }`, `Group { secret_text: "S" }`} {
		f.Add(marshal(f, set, text))
	}
	f.Add([]byte("\xf8\x01\x07\x12\x7fS"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRedactor()
		got, _ := r.Redact(data, md, resolver)
		again, _ := r.Redact(got, md, resolver)
		if !bytes.Equal(got, again) {
			t.Errorf("Redact(%x) = %x, and again %x", data, got, again)
		}
		m := dynamicpb.NewMessage(md)
		Decode(got, m, resolver)
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if strings.HasPrefix(string(fd.Name()), "secret") && fd.Kind() == protoreflect.StringKind && !fd.IsList() && v.String() != Redacted {
				t.Errorf("Redact(%x) has %s = %q", data, fd.Name(), v)
			}
			return true
		})
		if got, paths := r.Redact(data, plain, resolver); !bytes.Equal(got, data) || paths != nil {
			t.Errorf("a message without secrets: Redact(%x) = %x %v", data, got, paths)
		}
	})
}
