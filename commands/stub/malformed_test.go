package stub_test

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// protobuf panics on a map entry with two keys of different types.
func TestMalformedRequest(t *testing.T) {
	t.Parallel()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("map.proto"), Package: new("test"), Dependency: []string{"google/rpc/error_details.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Maps"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: new("Put"), InputType: new(".google.rpc.ErrorInfo"), OutputType: new(".google.rpc.ErrorInfo")},
			{Name: new("Stream"), InputType: new(".google.rpc.ErrorInfo"), OutputType: new(".google.rpc.ErrorInfo"), ClientStreaming: new(true), ServerStreaming: new(true)},
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	_, _, conn := serve(t, "methods: {test.Maps/Put: {reply: {}}, test.Maps/Stream: {reply: {}}}", files)
	request := &errdetails.ErrorInfo{}
	request.ProtoReflect().SetUnknown([]byte("\x1a\x05\n\x010\b0"))
	for _, method := range []string{"/test.Maps/Put", "/test.Maps/Stream"} {
		err := conn.Invoke(t.Context(), method, request, &errdetails.ErrorInfo{})
		if s := status.Convert(err); s.Code() != codes.Internal || !strings.HasPrefix(s.Message(), "stub: malformed request: ") {
			t.Errorf("%s = %v", method, err)
		}
	}
}
