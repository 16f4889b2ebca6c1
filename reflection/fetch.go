package reflection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/types/descriptorpb"
)

// handle processes the answer to q.
func (f *fetch) handle(ctx context.Context, q question, answer *response) {
	f.answered = true
	if f.stopped {
		return
	}
	switch a := answer.GetMessageResponse().(type) {
	case *grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse:
		f.addFiles(ctx, q, a.FileDescriptorResponse.GetFileDescriptorProto())
	case *grpc_reflection_v1.ServerReflectionResponse_AllExtensionNumbersResponse:
		message := q.request.GetAllExtensionNumbersOfType()
		for _, n := range a.AllExtensionNumbersResponse.GetExtensionNumber() {
			if !f.queueExtension(message, n) {
				break
			}
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
		f.b.problem(format, args...)
		f.b.set.limit = errors.New(truncate(fmt.Sprintf(format, args...)))
	}
}

func (f *fetch) addFiles(ctx context.Context, q question, raw [][]byte) {
	var first string
	for _, data := range raw {
		if f.stopped || ctx.Err() != nil {
			break
		}
		f.stream.codec.release(stringBytes + len(data)) // it is garbage or counted with its file from now on
		if len(data) > maxFileBytes {
			f.b.problem("a file of %d bytes is left out: more than %d", len(data), maxFileBytes)
			continue
		}
		hash := maphash.Bytes(f.seed, data)
		if path := f.seen[hash]; path != "" { // many servers send imports again with every file
			first = cmp.Or(first, path)
			continue
		}
		fdp, err := f.b.addRaw(data)
		if err != nil {
			f.stop("%v", err)
		}
		if fdp == nil {
			first = cmp.Or(first, pathOf(data))
			continue
		}
		f.seen[hash] = fdp.GetName()
		first = cmp.Or(first, fdp.GetName())
		if f.bytes -= len(data); f.bytes < 0 {
			f.stop("the files are more than %d bytes: the rest is left out", maxBytes)
		}
		if len(f.b.files) >= maxFiles {
			f.stop("there are %d files: the rest is left out", maxFiles)
		}
		f.markReceived(fdp)
		f.queueImports(fdp)
	}
	// A Go server may know a file by another path than its importers do.
	if path := q.request.GetFileByFilename(); path != "" && first != "" && f.b.files[path] == nil {
		f.b.aliases[path] = first
	}
}

// markReceived records the services and extensions of a file, which needn't be asked
// for any more, and its messages that can have extensions.
func (f *fetch) markReceived(fdp *descriptorpb.FileDescriptorProto) {
	prefix := ""
	if fdp.GetPackage() != "" {
		prefix = fdp.GetPackage() + "."
	}
	for _, s := range fdp.GetService() {
		f.symbols[prefix+s.GetName()] = true
	}
	f.markExtensions(fdp.GetExtension())
	eachMessage(prefix, fdp.GetMessageType(), func(name string, m *descriptorpb.DescriptorProto) {
		f.markExtensions(m.GetExtension())
		if len(m.GetExtensionRange()) > 0 && builtin(fdp.GetName()) == nil && len(f.extendable) < maxQuestions {
			f.extendable = append(f.extendable, name)
		}
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
	for _, name := range f.extendable {
		f.enqueue(question{
			subject:  "extensions of " + name,
			optional: true,
			request: &request{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_AllExtensionNumbersOfType{
					AllExtensionNumbersOfType: name,
				},
			},
		})
	}
}

// queueExtension asks for the file that defines an extension. It returns false once a
// limit is reached.
func (f *fetch) queueExtension(message string, number int32) bool {
	if f.b.budget.spend(1000) != nil {
		return false
	}
	return f.enqueue(question{
		subject:  "extension " + extensionKey(message, number),
		optional: true,
		request: &request{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingExtension{
				FileContainingExtension: &grpc_reflection_v1.ExtensionRequest{ContainingType: message, ExtensionNumber: number},
			},
		},
	})
}
