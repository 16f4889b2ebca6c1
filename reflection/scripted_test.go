package reflection

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// scriptedServer is a reflection service whose answers a test defines. If answer returns
// nil, the stream ends.
type scriptedServer struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
	begin  func(ctx context.Context) error
	answer func(r *request) *response
}

func (s *scriptedServer) ServerReflectionInfo(stream grpc.BidiStreamingServer[request, response]) error {
	if s.begin != nil {
		if err := s.begin(stream.Context()); err != nil {
			return err
		}
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client is done
		}
		a := s.answer(r)
		if a == nil {
			return status.Error(codes.Internal, "no more")
		}
		if err := stream.Send(a); err != nil {
			return err
		}
	}
}

func (s *scriptedServer) serve(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	server := grpc.NewServer()
	grpc_reflection_v1.RegisterServerReflectionServer(server, s)
	return serve(tb, server)
}

func listOf(names ...string) *response {
	list := new(grpc_reflection_v1.ListServiceResponse)
	for _, name := range names {
		list.Service = append(list.Service, &grpc_reflection_v1.ServiceResponse{Name: name})
	}
	return &response{MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}}
}

func filesOf(raw ...[]byte) *response {
	return &response{MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &grpc_reflection_v1.FileDescriptorResponse{FileDescriptorProto: raw},
	}}
}

func errorOf(code codes.Code, text string) *response {
	return &response{MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(code), ErrorMessage: text},
	}}
}

// file returns a file whose package is derived from path, with one message and one
// service.
func file(path string, imports ...string) *descriptorpb.FileDescriptorProto {
	name := strings.NewReplacer(".proto", "", "/", "_", "-", "_").Replace(path)
	return &descriptorpb.FileDescriptorProto{
		Name: &path, Package: &name, Syntax: new("proto3"), Dependency: imports,
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: new("S"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: new("Do"), InputType: new("." + name + ".M"), OutputType: new("." + name + ".M"),
			}},
		}},
	}
}

func encode(tb testing.TB, fdp *descriptorpb.FileDescriptorProto) []byte {
	tb.Helper()
	data, err := proto.Marshal(fdp)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// answerFrom answers requests from services and files, one file per answer.
func answerFrom(tb testing.TB, services []string, files ...*descriptorpb.FileDescriptorProto) func(*request) *response {
	tb.Helper()
	byPath, bySymbol := make(map[string][]byte), make(map[string][]byte)
	for _, fdp := range files {
		data := encode(tb, fdp)
		byPath[fdp.GetName()] = data
		for _, s := range fdp.GetService() {
			bySymbol[fdp.GetPackage()+"."+s.GetName()] = data
		}
	}
	return func(r *request) *response {
		var data []byte
		switch m := r.GetMessageRequest().(type) {
		case *grpc_reflection_v1.ServerReflectionRequest_ListServices:
			return listOf(services...)
		case *grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol:
			data = bySymbol[m.FileContainingSymbol]
		case *grpc_reflection_v1.ServerReflectionRequest_FileByFilename:
			data = byPath[m.FileByFilename]
		}
		if data == nil {
			return errorOf(codes.NotFound, "no such thing")
		}
		return filesOf(data)
	}
}
