package call

import (
	"encoding/json"
	"strings"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// echo serves one method, test.Echo/Echo, which returns its request. The server reflects
// described unless that is nil.
func echo(tb testing.TB, set, described *reflection.Set) *grpc.ClientConn {
	tb.Helper()
	d, err := set.Files().FindDescriptorByName("test.Echo.Echo")
	if err != nil {
		tb.Fatal(err)
	}
	input := d.(protoreflect.MethodDescriptor).Input()
	return serve(tb, func(s *grpc.Server) {
		if described != nil {
			merged := reflection.NewMerged(1, nil)
			merged.Set(0, described)
			merged.Register(s)
		}
	}, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		m := dynamicpb.NewMessage(input)
		if err := stream.RecvMsg(m); err != nil {
			return err
		}
		return stream.SendMsg(m)
	}))
}

const echoProto = `
	syntax = "proto2";
	package test;
	import "google/protobuf/any.proto";
	service Echo { rpc Echo (M) returns (M); }
	message M {
		optional string some_text = 1;
		optional google.protobuf.Any any = 2;
		optional Color color = 3;
		map<string, int64> numbers = 4;
		extensions 100 to 200;
	}
	enum Color { RED = 0; }
	message Other { optional int32 n = 1; }
	extend M { optional Other other = 101; }`

func TestExtensionsAndAny(t *testing.T) {
	t.Parallel()
	set := compile(t, echoProto)
	cc := echo(t, set, set)
	target := &Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromServer(cc, nil))}
	for _, in := range []string{
		`{"someText":"x","[test.other]":{"n":7}}`,
		`{"any":{"@type":"type.googleapis.com/test.Other","n":7}}`,
		`{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.500s"}}`,
	} {
		got, r := invoke(t, target, "test.Echo/Echo", in, nil)
		if got != in+"\n" || r.Status.Code() != codes.OK {
			t.Errorf("the echo of %s is %s, %v", in, got, r.Status)
		}
	}
}

// The type in an Any may come from a file that no service imports.
func TestAnyOfAnotherFile(t *testing.T) {
	t.Parallel()
	set := compile(t, echoProto)
	both := compile(t, `syntax = "proto3"; package far; message Away { string there = 1; }`)
	cc := echo(t, set, both)
	target := &Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromSet(set), reflection.FromServer(cc, nil))}
	in := `{"any":{"@type":"x.org/far.Away","there":"y"}}`
	if got, _ := invoke(t, target, "test.Echo/Echo", in, nil); got != in+"\n" {
		t.Errorf("the echo of %s is %s", in, got)
	}
}

func TestFormatUnknownAny(t *testing.T) {
	t.Parallel()
	set := compile(t, echoProto)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	field := m.Descriptor().Fields().ByName("any")
	a := m.Mutable(field).Message()
	a.Set(a.Descriptor().Fields().ByName("type_url"), protoreflect.ValueOfString("x.org/lost.Type"))
	a.Set(a.Descriptor().Fields().ByName("value"), protoreflect.ValueOfBytes([]byte{8, 1}))
	got, err := FormatMessage(t.Context(), m, set.Types(), &FormatOptions{Compact: true})
	want := `{"any":{"@type":"x.org/lost.Type","@error":"lost.Type is not recognized; see @value for raw binary message data","@value":"CAE="}}`
	if err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	set := compile(t, echoProto)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	in := NewRequests(strings.NewReader("some_text: \"a: b\"\nnumbers { key: \"k\" value: 5 }\x1e"), Text, set.Types(), nil)
	if err := in.Next(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		opts FormatOptions
		want string
	}{
		{FormatOptions{}, "{\n  \"someText\": \"a: b\",\n  \"numbers\": {\n    \"k\": \"5\"\n  }\n}"},
		{FormatOptions{Compact: true}, `{"someText":"a: b","numbers":{"k":"5"}}`},
		{FormatOptions{Compact: true, ProtoNames: true}, `{"some_text":"a: b","numbers":{"k":"5"}}`},
		{FormatOptions{Compact: true, EmitDefaults: true}, `{"someText":"a: b","any":null,"color":null,"numbers":{"k":"5"}}`},
		{FormatOptions{Format: Text}, "some_text: \"a: b\"\nnumbers: {\n  key: \"k\"\n  value: 5\n}"},
	}
	for _, tt := range tests {
		if got, err := FormatMessage(t.Context(), m, set.Types(), &tt.opts); err != nil || got != tt.want {
			t.Errorf("%+v: %s, %v; want %s", tt.opts, got, err, tt.want)
		}
	}
	m.Set(m.Descriptor().Fields().ByName("some_text"), protoreflect.ValueOfString("\x1b\x7f\u009b"))
	if got, err := FormatMessage(t.Context(), m, nil, &FormatOptions{Compact: true}); err != nil || !strings.HasPrefix(got, `{"someText":"\u001b\u007f\u009b"`) {
		t.Errorf("%q, %v; want no control characters", got, err)
	}
	// A final separator means one more message, an empty one.
	m = dynamicpb.NewMessage(m.Descriptor())
	if err := in.Next(t.Context(), m); err != nil || m.Has(m.Descriptor().Fields().ByName("some_text")) {
		t.Errorf("%v, %v; want an empty message", m, err)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	set := compile(t, echoProto)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		t.Fatal(err)
	}
	md := d.(protoreflect.MessageDescriptor)
	var got []string
	for _, f := range Fields(md) {
		got = append(got, f.Name+" "+f.Type)
	}
	want := "someText string|any message google.protobuf.Any|color enum test.Color|numbers map of string to int64"
	if strings.Join(got, "|") != want {
		t.Errorf("fields %q, want %s", got, want)
	}
	if f := Fields(md, "any"); len(f) != 2 || f[0].Name != "typeUrl" {
		t.Errorf("fields of any: %v", f)
	}
	if f := Fields(md, "some_text"); f != nil {
		t.Errorf("fields of a string: %v", f)
	}
}

// fmt hides the values of a metadata.MD, FormatMetadata must not.
func TestFormatMetadata(t *testing.T) {
	t.Parallel()
	md := metadata.Pairs("authorization", "Bearer x", "b-bin", "\x00\x01", "a", "1", "a", "2\x1b")
	const want = "a: 1\na: 2\\x1b\nauthorization: Bearer x\nb-bin: AAE="
	if got := FormatMetadata(md); got != want {
		t.Errorf("FormatMetadata = %q, want %q", got, want)
	}
	if got := FormatMetadata(nil); got != "(empty)" {
		t.Errorf("FormatMetadata(nil) = %q", got)
	}
}

// The escapes of a message don't change its value, nor can the URL of an Any forge a line.
func TestFormatHostileText(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[2J\\\u009b\u202e\u200b\U000e0041\nwstun: hint: forged\r"
	m := &anypb.Any{TypeUrl: hostile + "/google.rpc.ErrorInfo"}
	s := &spb.Status{Message: hostile, Details: []*anypb.Any{m, {TypeUrl: hostile, Value: []byte(hostile)}}}
	for _, opts := range []FormatOptions{{Format: JSON}, {Format: JSON, Compact: true}, {Format: Text}, {Format: Text, Compact: true}} {
		text, err := FormatMessage(t.Context(), s, nil, &opts)
		if err != nil || escape.Text(text) != text || strings.Contains(text, "\nwstun") {
			t.Errorf("%+v: %q, %v", opts, text, err)
		}
		got := &spb.Status{}
		if opts.Format == JSON {
			got.Details = s.Details // with a type that isn't known, which protojson doesn't read
			var value struct{ Message string }
			err = json.Unmarshal([]byte(text), &value)
			got.Message = value.Message
		} else {
			err = prototext.Unmarshal([]byte(text), got)
		}
		if err != nil || !proto.Equal(got, s) {
			t.Errorf("%+v: %s reads %v, %v", opts, text, got, err)
		}
	}
}
