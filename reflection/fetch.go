package reflection

import (
	"fmt"

	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// handle processes the answer to q.
func (f *fetch) handle(q question, answer *response) {
	f.answered = true
	f.traffic -= proto.Size(answer)
	if f.traffic < 0 {
		f.stop("the server sends more than %d bytes", maxTraffic)
		return
	}
	switch a := answer.GetMessageResponse().(type) {
	case *grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse:
		f.addFiles(q, a.FileDescriptorResponse.GetFileDescriptorProto())
	case *grpc_reflection_v1.ServerReflectionResponse_AllExtensionNumbersResponse:
		message := q.request.GetAllExtensionNumbersOfType()
		for _, n := range a.AllExtensionNumbersResponse.GetExtensionNumber() {
			f.queueExtension(message, n)
		}
	case *grpc_reflection_v1.ServerReflectionResponse_ErrorResponse:
		f.recordError(q, answerError(a.ErrorResponse))
	default:
		f.b.problem("%s: unexpected response", q.subject)
	}
}

// stop makes f ignore further files of this server.
func (f *fetch) stop(format string, args ...any) {
	if !f.stopped {
		f.stopped = true
		f.b.problem(format+": the rest is left out", args...)
	}
}

func (f *fetch) addFiles(q question, raw [][]byte) {
	var first string
	for _, data := range raw {
		fdp := f.parse(data)
		if fdp == nil {
			continue
		}
		if first == "" {
			first = fdp.GetName()
		}
		if !f.stopped && f.b.add(fdp) {
			if f.bytes -= len(data); f.bytes < 0 {
				f.stop("the files are more than %d bytes", maxBytes)
			}
			if len(f.b.files) >= maxFiles {
				f.stop("there are %d files", maxFiles)
			}
			f.markReceived(fdp)
			f.queueImports(fdp)
		}
	}
	// A Go server may know a file by another path than its importers do.
	if path := q.request.GetFileByFilename(); path != "" && first != "" && f.b.files[path] == nil {
		f.b.aliases[path] = first
	}
}

// parse returns nil if data isn't a usable file.
func (f *fetch) parse(data []byte) *descriptorpb.FileDescriptorProto {
	if len(data) > maxFileBytes {
		f.b.problem("a file of %d bytes is left out", len(data))
		return nil
	}
	fdp := new(descriptorpb.FileDescriptorProto)
	if err := proto.Unmarshal(data, fdp); err != nil {
		f.b.problem("a file is not a valid FileDescriptorProto")
		return nil
	}
	return fdp
}

// markReceived records the services and extensions of a file, which needn't be asked
// for any more.
func (f *fetch) markReceived(fdp *descriptorpb.FileDescriptorProto) {
	prefix := ""
	if fdp.GetPackage() != "" {
		prefix = fdp.GetPackage() + "."
	}
	for _, s := range fdp.GetService() {
		f.symbols[prefix+s.GetName()] = true
	}
	f.markExtensions(fdp.GetExtension())
	eachMessage(prefix, fdp.GetMessageType(), func(_ string, m *descriptorpb.DescriptorProto) {
		f.markExtensions(m.GetExtension())
	})
}

func (f *fetch) markExtensions(list []*descriptorpb.FieldDescriptorProto) {
	for _, x := range list {
		if name := x.GetExtendee(); len(name) > 1 && name[0] == '.' {
			f.symbols[extensionKey(name[1:], x.GetNumber())] = true
		}
	}
}

func extensionKey(message string, number int32) string {
	return fmt.Sprintf("%s[%d]", message, number)
}

// eachMessage calls fn for each message, with its full name.
func eachMessage(prefix string, list []*descriptorpb.DescriptorProto, fn func(string, *descriptorpb.DescriptorProto)) {
	for _, m := range list {
		fn(prefix+m.GetName(), m)
		eachMessage(prefix+m.GetName()+".", m.GetNestedType(), fn)
	}
}

// queueExtensions asks for the extensions of all messages that can have some, because
// no file needs to import the files that define them. Many servers can't answer.
func (f *fetch) queueExtensions() {
	for path, fdp := range f.b.files {
		if builtin(path) != nil {
			continue
		}
		prefix := ""
		if fdp.GetPackage() != "" {
			prefix = fdp.GetPackage() + "."
		}
		eachMessage(prefix, fdp.GetMessageType(), func(name string, m *descriptorpb.DescriptorProto) {
			if len(m.GetExtensionRange()) == 0 {
				return
			}
			f.enqueue(question{
				subject:  "extensions of " + name,
				optional: true,
				request: &request{
					MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_AllExtensionNumbersOfType{
						AllExtensionNumbersOfType: name,
					},
				},
			})
		})
	}
}

func (f *fetch) queueExtension(message string, number int32) {
	f.enqueue(question{
		subject:  "extension " + extensionKey(message, number),
		optional: true,
		request: &request{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingExtension{
				FileContainingExtension: &grpc_reflection_v1.ExtensionRequest{ContainingType: message, ExtensionNumber: number},
			},
		},
	})
}
