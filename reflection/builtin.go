package reflection

import (
	"strings"

	_ "google.golang.org/genproto/googleapis/rpc/code" // google/rpc/code.proto
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/gofeaturespb" // this and the next packages: all of google/protobuf/*.proto
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
	_ "google.golang.org/protobuf/types/pluginpb"
)

// builtin returns a file that is part of protobuf or gRPC and linked into the program,
// nil for any other path. The linked file replaces the copies of servers, which come
// from many versions of the compiler and differ only in their encoding.
func builtin(path string) protoreflect.FileDescriptor {
	for _, dir := range []string{"google/protobuf/", "google/rpc/", "grpc/"} {
		if strings.HasPrefix(path, dir) {
			return linked(path)
		}
	}
	return nil
}

// linked returns a file that is linked into the program, nil if there is none.
func linked(path string) protoreflect.FileDescriptor {
	fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return nil
	}
	return fd
}

// builtinPath returns the built-in file that defines a symbol, "" if none does.
func builtinPath(name protoreflect.FullName) string {
	if len(name) > maxName {
		return "" // a registry looks up each prefix
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil || builtin(d.ParentFile().Path()) == nil {
		return ""
	}
	return d.ParentFile().Path()
}

// builtinProto is like builtin but returns the file as a message.
func builtinProto(path string) *descriptorpb.FileDescriptorProto {
	fd := builtin(path)
	if fd == nil {
		return nil
	}
	return protodesc.ToFileDescriptorProto(fd)
}
