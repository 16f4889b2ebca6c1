package message

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// nestedAll returns n messages test.All in the field list, each nested to that depth.
func nestedAll(tb testing.TB, md protoreflect.MessageDescriptor, n, depth int) protoreflect.ProtoMessage {
	tb.Helper()
	list, all := md.Fields().ByName("list"), md.Fields().ByName("all")
	m := dynamicpb.NewMessage(md)
	for range n {
		inner := m.Mutable(list).List().AppendMutable().Message()
		for range depth - 1 {
			inner = inner.Mutable(all).Message()
		}
	}
	return m
}

// A message whose indentation would be much longer than the rest is on one line. It has one
// note, although it is formatted twice.
func TestFormatDeep(t *testing.T) {
	set, md := everything(t)
	m := nestedAll(t, md, 10, 4900)
	m.ProtoReflect().Set(md.Fields().ByName("some_text"), protoreflect.ValueOfString("\xff"))
	for _, format := range []Encoding{JSON, Text} {
		compact, err := Format(t.Context(), m, set.Types(), &Options{Encoding: format, Compact: true})
		if err != nil || len(compact) < 10*4900 {
			t.Fatalf("%s: %d bytes, %v", format, len(compact), err)
		}
		before, notes := allocated(), 0
		got, err := Format(t.Context(), m, set.Types(), &Options{Encoding: format, Note: func(string) { notes++ }})
		if want := map[Encoding]int{JSON: 1}[format]; notes != want {
			t.Errorf("%s: %d notes, want %d", format, notes, want)
		}
		if err != nil || got != compact {
			t.Errorf("%s: %d bytes, %v; want the %d bytes of the compact form", format, len(got), err, len(compact))
		}
		if used := allocated() - before; used > 8*maxIndentation {
			t.Errorf("%s: %d bytes allocated for %d bytes of result", format, used, len(got))
		}
	}
	m = nestedAll(t, md, 1, 200)
	if got, err := Format(t.Context(), m, set.Types(), nil); err != nil || !strings.Contains(got, "\n"+strings.Repeat("  ", 200)+"\"all\"") {
		t.Errorf("%d bytes, %v; want 200 levels", len(got), err)
	}
}

// allocated returns the bytes that the process has allocated so far. Tests that use it
// don't run in parallel with others.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// Each level of nested Anys contains the bytes of all the levels below it.
func TestFormatNestedAnys(t *testing.T) {
	const levels, size = 400, 1 << 20
	inner, err := anypb.New(wrapperspb.String(strings.Repeat("x", size)))
	for range levels {
		if err == nil {
			inner, err = anypb.New(inner)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []Encoding{JSON, Text} {
		before := allocated()
		got, err := Format(t.Context(), inner, nil, &Options{Encoding: format, Compact: true})
		if err != nil || len(got) < size || len(got) > 4*size {
			t.Errorf("%s: %d bytes, %v", format, len(got), err)
		}
		if format == JSON && !strings.Contains(got, `"google.protobuf.Any is nested too deep; see @value for raw binary message data"`) {
			t.Errorf("%s begins %.1000s", format, got)
		}
		if used := allocated() - before; used > levels*size*3/4 {
			t.Errorf("%s: %d MiB allocated", format, used>>20)
		}
	}
}

// Names may be much longer than the message that refers to them.
func TestFormatLimit(t *testing.T) {
	name := strings.Repeat("x", 1000)
	set := compile(t, `syntax = "proto3"; package test; message M { repeated E e = 1; M `+name+` = 2; optional int32 `+name+`2 = 3; } enum E { `+name+`3 = 0; }`)
	d, err := set.Files().FindDescriptorByName("test.M")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := proto.Unmarshal(protowire.AppendBytes([]byte{0x0a}, make([]byte, 10_000)), m); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []Options{{}, {Compact: true}, {Encoding: Text}, {EmitDefaults: true}} {
		opts.MaxSize = 1 << 20
		before := allocated()
		_, err := Format(t.Context(), m, set.Types(), &opts)
		if err == nil || !strings.HasPrefix(err.Error(), "the message is longer than 1 MiB as ") {
			t.Errorf("%+v: %v", opts, err)
		}
		if used := allocated() - before; used > 64<<20 {
			t.Errorf("%+v: %d MiB allocated", opts, used>>20)
		}
		opts.MaxSize = 0
		if got, err := Format(t.Context(), m, set.Types(), &opts); err != nil || len(got) < 10_000*len(name) {
			t.Errorf("%+v: %d bytes, %v", opts, len(got), err)
		}
	}
}

func TestFormatInterrupted(t *testing.T) {
	t.Parallel()
	set, md := everything(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	large := nestedAll(t, md, 1000, 1)
	keys := dynamicpb.NewMessage(md)
	byInt := keys.Mutable(md.Fields().ByName("by_int")).Map()
	for i := range int64(1000) {
		byInt.Set(protoreflect.ValueOfInt64(i).MapKey(), protoreflect.ValueOfBytes(nil))
	}
	for _, opts := range []Options{{}, {Compact: true}, {Encoding: Text}, {EmitDefaults: true}} {
		for _, m := range []protoreflect.ProtoMessage{large, keys} {
			if _, err := Format(ctx, m, set.Types(), &opts); !errors.Is(err, context.Canceled) {
				t.Errorf("%+v: %v, want context.Canceled", opts, err)
			}
		}
		// The details of a status are printed after the end of the context.
		if got, err := Format(ctx, nestedAll(t, md, 3, 1), set.Types(), &opts); err != nil {
			t.Errorf("%+v: %s, %v", opts, got, err)
		}
	}
}

// A server may define the types of google.protobuf without their fields.
func TestMalformedType(t *testing.T) {
	t.Parallel()
	var fields []*descriptorpb.FieldDescriptorProto
	var types []*descriptorpb.DescriptorProto
	for i, name := range []string{"Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue", "StringValue"} {
		types = append(types, &descriptorpb.DescriptorProto{Name: new(name)})
		fields = append(fields, &descriptorpb.FieldDescriptorProto{
			Name: new(strings.ToLower(name)), Number: new(int32(i + 1)), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: new(".google.protobuf." + name),
		})
	}
	types = append(types, &descriptorpb.DescriptorProto{Name: new("All"), Field: fields})
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{Name: new("own.proto"), Package: new("google.protobuf"), MessageType: types}, nil)
	if err != nil {
		t.Fatal(err)
	}
	md := file.Messages().ByName("All")
	for i := range md.Fields().Len() {
		m := dynamicpb.NewMessage(md)
		m.Mutable(md.Fields().Get(i))
		for _, format := range []Encoding{JSON, Text} {
			got, err := Format(t.Context(), m, nil, &Options{Encoding: format, Compact: true})
			want := map[Encoding]string{JSON: fmt.Sprintf(`{"%s":{}}`, md.Fields().Get(i).Name()), Text: fmt.Sprintf("%s:{}", md.Fields().Get(i).Name())}
			if err != nil || got != want[format] {
				t.Errorf("%s: %s, %v, want %s", md.Fields().Get(i).Name(), got, err, want[format])
			}
		}
	}
}
