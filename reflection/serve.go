package reflection

import (
	"errors"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Register has s serve reflection, v1 and v1alpha, of the upstreams and of the
// services that are registered with s itself, whenever that happens. Like any
// registration it must come before s.Serve.
func (m *Merged) Register(s *grpc.Server) {
	register(s, &service{m: m, local: s})
}

// Refuse has s answer requests for reflection with codes.Unimplemented, as it does
// anyway unless it passes calls to unknown services on.
func Refuse(s *grpc.Server) {
	register(s, grpc_reflection_v1.UnimplementedServerReflectionServer{})
}

func register(s *grpc.Server, impl grpc_reflection_v1.ServerReflectionServer) {
	grpc_reflection_v1.RegisterServerReflectionServer(s, impl)
	// The two versions differ in their names alone.
	alpha := grpc_reflection_v1.ServerReflection_ServiceDesc
	alpha.ServiceName = grpc_reflection_v1alpha.ServerReflection_ServiceDesc.ServiceName
	alpha.Metadata = grpc_reflection_v1alpha.ServerReflection_ServiceDesc.Metadata
	s.RegisterService(&alpha, impl)
}

// service is the reflection service. grpc-go's own follows each import on each
// way that leads to it, which takes for ever with the files that a peer may send.
type service struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
	m     *Merged
	local *grpc.Server
}

func (s *service) ServerReflectionInfo(
	stream grpc.BidiStreamingServer[request, response],
) error {
	var last *snapshot
	var sent map[string]bool // paths; a file is sent once, as reflection.proto allows
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

// answer fills in out. It reports whether the request is one of those known.
func (s *service) answer(now *snapshot, sent map[string]bool, in *request, out *response) bool {
	switch r := in.GetMessageRequest().(type) {
	case *grpc_reflection_v1.ServerReflectionRequest_ListServices:
		s.list(out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileByFilename:
		files(now, sent, r.FileByFilename, r.FileByFilename, out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol:
		files(now, sent, now.pathOfSymbol(protoreflect.FullName(r.FileContainingSymbol)), r.FileContainingSymbol, out)
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingExtension:
		x := r.FileContainingExtension
		files(now, sent, now.pathOfExtension(
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

// files answers with a file, and with all it imports that isn't sent yet. what
// is the text of the question, for when there is no such file.
func files(now *snapshot, sent map[string]bool, path, what string, out *response) {
	list := new(grpc_reflection_v1.FileDescriptorResponse)
	delete(sent, path)
	for queue := []string{path}; len(queue) > 0; queue = queue[1:] {
		if sent[queue[0]] {
			continue
		}
		fdp, raw := now.file(queue[0])
		if fdp == nil {
			continue
		}
		sent[queue[0]] = true
		list.FileDescriptorProto = append(list.FileDescriptorProto, raw)
		queue = append(append(queue, fdp.GetDependency()...), fdp.GetOptionDependency()...)
	}
	if len(list.GetFileDescriptorProto()) == 0 {
		notFound(out, what)
		return
	}
	out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: list}
}

func notFound(out *response, what string) {
	out.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "not found: " + short(what)},
	}
}
