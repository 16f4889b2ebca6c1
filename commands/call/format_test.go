package call

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
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

// cancelingWriter cancels the call at the first Write.
type cancelingWriter struct {
	cancel  context.CancelFunc
	written int
}

func (w *cancelingWriter) Write(p []byte) (int, error) {
	w.cancel()
	w.written += len(p)
	return len(p), nil
}

// Cancelling a call while a long response is written ends the call.
func TestPrintInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	set := compile(t, echoProto)
	cc := echo(t, set, set)
	target := &Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromSet(set))}
	m := method(t, target, "test.Echo/Echo")
	w := &cancelingWriter{cancel: cancel}
	p := &Printer{Out: w}
	in := fmt.Sprintf(`{"someText": %q}`, strings.Repeat("x", 1<<20))
	r, err := Invoke(ctx, cc, m, NewRequests(strings.NewReader(in), message.JSON, nil, nil), nil, p.Events())
	if err != nil || r.Status.Code() != codes.Canceled || w.written > maxWrite {
		t.Errorf("%+v, %v, %d bytes written; want the status Canceled after %d bytes", r, err, w.written, maxWrite)
	}
}
