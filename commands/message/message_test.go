package message

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// compile returns the Set of one .proto file.
func compile(tb testing.TB, source string) *reflection.Set {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "test.proto")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		tb.Fatal(err)
	}
	set, err := reflection.LoadProtos([]string{file}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// newMessage returns an empty message of a type in set.
func newMessage(tb testing.TB, set *reflection.Set, name protoreflect.FullName) *dynamicpb.Message {
	tb.Helper()
	d, err := set.Files().FindDescriptorByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
}

// parse returns a message in the text format.
func parse(tb testing.TB, set *reflection.Set, name protoreflect.FullName, text string) *dynamicpb.Message {
	tb.Helper()
	m := newMessage(tb, set, name)
	if err := (prototext.UnmarshalOptions{Resolver: set.Types()}).Unmarshal([]byte(text), m); err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestFormats(t *testing.T) {
	t.Parallel()
	set, _ := everything(t)
	m := parse(t, set, "test.Little", `some_text: "a: b" numbers { key: "k" value: 5 }`)
	tests := []struct {
		opts Options
		want string
	}{
		{Options{}, "{\n  \"someText\": \"a: b\",\n  \"numbers\": {\n    \"k\": \"5\"\n  }\n}"},
		{Options{Compact: true}, `{"someText":"a: b","numbers":{"k":"5"}}`},
		{Options{Compact: true, ProtoNames: true}, `{"some_text":"a: b","numbers":{"k":"5"}}`},
		{Options{Compact: true, EmitDefaults: true}, `{"someText":"a: b","any":null,"color":"BLUE","name":"x","numbers":{"k":"5"}}`},
		{Options{Encoding: Text}, "some_text: \"a: b\"\nnumbers: {\n  key: \"k\"\n  value: 5\n}"},
	}
	for _, tt := range tests {
		if got, err := Format(t.Context(), m, set.Types(), &tt.opts); err != nil || got != tt.want {
			t.Errorf("%+v: %s, %v; want %s", tt.opts, got, err, tt.want)
		}
	}
	m.Set(m.Descriptor().Fields().ByName("some_text"), protoreflect.ValueOfString("\x1b\x7f\u009b"))
	if got, err := Format(t.Context(), m, nil, &Options{Compact: true}); err != nil || !strings.HasPrefix(got, `{"someText":"\u001b\u007f\u009b"`) {
		t.Errorf("%q, %v; want no control characters", got, err)
	}
}

// The escapes of a message don't change its value, nor can the URL of an Any forge a line.
func TestFormatHostileText(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[2J\\\u009b\u202e\u200b\U000e0041\nwstun: hint: forged\r"
	m := &anypb.Any{TypeUrl: hostile + "/google.rpc.ErrorInfo"}
	s := &spb.Status{Message: hostile, Details: []*anypb.Any{m, {TypeUrl: hostile, Value: []byte(hostile)}}}
	for _, opts := range []Options{{Encoding: JSON}, {Encoding: JSON, Compact: true}, {Encoding: Text}, {Encoding: Text, Compact: true}} {
		text, err := Format(t.Context(), s, nil, &opts)
		if err != nil || escape.Text(text) != text || strings.Contains(text, "\nwstun") {
			t.Errorf("%+v: %q, %v", opts, text, err)
		}
		got := &spb.Status{}
		if opts.Encoding == JSON {
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
