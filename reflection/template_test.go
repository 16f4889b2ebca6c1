package reflection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc" //nolint:staticcheck // grpcurl's types
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// find returns the message of set with that name.
func find(tb testing.TB, set *Set, name protoreflect.FullName) protoreflect.MessageDescriptor {
	tb.Helper()
	d, err := set.Files().FindDescriptorByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// Templates are those of grpcurl for ordinary types, here those of protobuf and
// gRPC, and one with all kinds of fields.
func TestTemplateAsGrpcurl(t *testing.T) {
	t.Parallel()
	all := []protoreflect.MessageDescriptor{find(t, compile(t, map[string]string{"all.proto": `
		syntax = "proto2";
		package test;
		import "google/protobuf/struct.proto";
		message All {
			repeated int32 a = 1; repeated uint32 b = 2; repeated sfixed64 c = 3; repeated fixed64 d = 4; repeated float e = 5;
			repeated double f = 6; repeated bool g = 7; repeated string h = 8; repeated bytes i = 9; repeated E j = 10;
			map<string, E> k = 11; map<sint64, All> l = 12; map<bool, Other> m = 13; repeated Other n = 14; repeated group O = 15 { optional Other other = 1; }
			oneof p { Other q = 16; int32 r = 17; Other s = 18; string t = 19; }
			optional string u = 20 [default = "some"]; optional E v = 21 [default = B]; optional All w = 22; optional group X = 23 {}
		}
		message Other { optional All all = 1; optional google.protobuf.Struct struct = 2; oneof choice { bool yes = 3; } }
		enum E { A = 0; B = 5; }`}), "test.All")}
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		all = append(all, mt.Descriptor())
		return true
	})
	for _, md := range all {
		wrapped, err := desc.WrapMessage(md)
		if err != nil {
			t.Fatal(err)
		}
		if md.FullName() == "google.protobuf.FieldMask" {
			continue // grpcurl's can't be sent as JSON
		}
		want, err := grpcurl.NewTextFormatter(false)(grpcurl.MakeTemplate(wrapped))
		if err != nil {
			t.Fatal(md.FullName(), err)
		}
		if got, err := TextTemplate(t.Context(), md); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", md.FullName(), err, got, want)
		}
		m, err := Template(t.Context(), md)
		if err != nil {
			t.Fatal(md.FullName(), err)
		}
		same := dynamicpb.NewMessage(md)
		if err := (prototext.UnmarshalOptions{AllowPartial: true}).Unmarshal([]byte(want), same); err != nil || !proto.Equal(m, same) {
			t.Errorf("%s: %v, want %v, %v", md.FullName(), m, same, err)
		}
	}
}

// A template is exponential in the number of types unless it is bounded.
func TestTemplateBounded(t *testing.T) {
	t.Parallel()
	var proto strings.Builder
	proto.WriteString("syntax = \"proto3\"; package test;\n")
	for i := range 26 {
		fmt.Fprintf(&proto, "message M%d { M%d a = 1; repeated M%d b = 2; map<string, M%d> c = 3; oneof d { M%d e = 4; int32 f = 5; } string end = 6; }\n", i, i+1, i+1, i+1, i+1)
	}
	proto.WriteString("message M26 {}\n")
	for i := range 1000 {
		fmt.Fprintf(&proto, "message Chain%d { Chain%d next = 1; }\n", i, (i+1)%1000)
	}
	set := compile(t, map[string]string{"wide.proto": proto.String()})
	got, err := TextTemplate(t.Context(), find(t, set, "test.M0"))
	if err != nil || len(got) < maxTemplate/32 || len(got) > 2*maxTemplate {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	got, err = TextTemplate(t.Context(), find(t, set, "test.Chain0"))
	if err != nil || strings.Count(got, "next") < maxTemplateDepth || strings.Count(got, "next") > maxTemplateDepth+1 {
		t.Errorf("%d levels, %v, want %d", strings.Count(got, "next"), err, maxTemplateDepth)
	}
}

func TestDescribeInterrupted(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	unblock, ended := make(chan struct{}), make(chan struct{})
	_, err := interruptible(ctx, func() (string, error) {
		defer close(ended)
		<-unblock
		return "", nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	close(unblock)
	<-ended
	if _, err := interruptible(t.Context(), func() (string, error) { panic("odd") }); err == nil || err.Error() != "odd" { //nolint:forbidigo // as grpcurl's packages do
		t.Errorf("%v, want the panic", err)
	}
}
