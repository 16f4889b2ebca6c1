package reflection

import (
	"errors"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Register registers reflection, v1 and v1alpha, with s. It covers the upstreams and the
// services registered with s, also those registered later. Call it before s.Serve.
func (m *Merged) Register(s reflection.GRPCServer) {
	register(s, &service{m: m, local: s})
}

// RegisterUnimplemented makes s answer reflection requests with codes.Unimplemented. It
// is needed for a server that forwards calls to unknown services.
func RegisterUnimplemented(s grpc.ServiceRegistrar) {
	register(s, grpc_reflection_v1.UnimplementedServerReflectionServer{})
}

func register(s grpc.ServiceRegistrar, impl grpc_reflection_v1.ServerReflectionServer) {
	grpc_reflection_v1.RegisterServerReflectionServer(s, impl)
	// The two versions differ only in their names.
	alpha := grpc_reflection_v1.ServerReflection_ServiceDesc
	alpha.ServiceName = grpc_reflection_v1alpha.ServerReflection_ServiceDesc.ServiceName
	alpha.Metadata = grpc_reflection_v1alpha.ServerReflection_ServiceDesc.Metadata
	s.RegisterService(&alpha, impl)
}

// service is the reflection service. Unlike grpc-go's, it visits each imported file only
// once: a peer can send files with exponentially many import paths.
type service struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
	m     *Merged
	local reflection.GRPCServer
}

func (s *service) ServerReflectionInfo(
	stream grpc.BidiStreamingServer[request, response],
) error {
	var last *snapshot
	var sent map[string]bool // by path; reflection.proto allows sending each file once
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		now := s.m.state.Load()
		if now != last {
			last, sent = now, make(map[string]bool)
		}
		out := &response{ValidHost: in.GetHost(), OriginalRequest: in}
		if !s.answer(now, sent, in, out) {
			return status.Errorf(codes.InvalidArgument, "invalid MessageRequest: %v", in.GetMessageRequest())
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// answer fills in out. It returns false for an unknown kind of request.
func (s *service) answer(now *snapshot, sent map[string]bool, in *request, out *response) bool {
	if proto.Size(in) > 2*maxName { // no symbol is so long, and a registry looks up each prefix
		notFound(out, "the name is too long")
		return true
	}
	switch r := in.GetMessageRequest().(type) {
	case *grpc_reflection_v1.ServerReflectionRequest_ListServices:
		s.list(out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileByFilename:
		answerFiles(now, sent, r.FileByFilename, r.FileByFilename, out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol:
		answerFiles(now, sent, now.pathOfSymbol(protoreflect.FullName(r.FileContainingSymbol)), r.FileContainingSymbol, out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingExtension:
		x := r.FileContainingExtension
		answerFiles(now, sent, now.pathOfExtension(
			protoreflect.FullName(x.GetContainingType()), protoreflect.FieldNumber(x.GetExtensionNumber())),
			extensionKey(x.GetContainingType(), x.GetExtensionNumber()), out)
	case *grpc_reflection_v1.ServerReflectionRequest_AllExtensionNumbersOfType:
		numbers := now.extensionNumbers(protoreflect.FullName(r.AllExtensionNumbersOfType))
		if len(numbers) == 0 && now.pathOfSymbol(protoreflect.FullName(r.AllExtensionNumbersOfType)) == "" {
			notFound(out, r.AllExtensionNumbersOfType)
			break
		}
		out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_AllExtensionNumbersResponse{
			AllExtensionNumbersResponse: &grpc_reflection_v1.ExtensionNumberResponse{
				BaseTypeName:    r.AllExtensionNumbersOfType,
				ExtensionNumber: numbers,
			},
		}
	default:
		return false
	}
	return true
}

func (s *service) list(out *response) {
	names := append(s.m.services(), slices.Collect(maps.Keys(s.local.GetServiceInfo()))...)
	list := new(grpc_reflection_v1.ListServiceResponse)
	for _, name := range serviceNames(names) {
		list.Service = append(list.Service, &grpc_reflection_v1.ServiceResponse{Name: name})
	}
	out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}
}

// answerFiles answers with a file and those of its imports that aren't sent yet. subject
// is the text of the request, for the error if there is no such file.
func answerFiles(now *snapshot, sent map[string]bool, path, subject string, out *response) {
	list := new(grpc_reflection_v1.FileDescriptorResponse)
	delete(sent, path)
	for queue := []string{path}; len(queue) > 0; queue = queue[1:] {
		if sent[queue[0]] {
			continue
		}
		f := now.file(queue[0])
		if f.encodedFile == nil {
			continue
		}
		sent[queue[0]] = true
		list.FileDescriptorProto = append(list.FileDescriptorProto, f.encoding())
		for _, dep := range f.imports {
			if dep = f.served(dep); !sent[dep] {
				queue = append(queue, dep)
			}
		}
	}
	if len(list.GetFileDescriptorProto()) == 0 {
		notFound(out, subject)
		return
	}
	out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: list}
}

func notFound(out *response, subject string) {
	out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "not found: " + truncate(subject)},
	}
}
