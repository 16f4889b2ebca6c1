//go:build linux && !race

package hostile

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// lie is a reflection service: its services are lie0.S, lie1.S, and so on.
type lie struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
	services int
	symbol   func(i int) []byte       // the file of lie<i>.S
	file     func(name string) []byte // nil: there is none
}

// lies are the servers that lie, by their names.
var lies = map[string]*lie{
	"8 files of 150000 fields":       {services: 8, symbol: lyingFiles(func() []byte { return fields(150_000) })},
	"10 files of 400000 enum values": {services: 10, symbol: lyingFiles(func() []byte { return enumValues(400_000) })},
	"wide imports":                   {services: 1, symbol: wideImports, file: func(string) []byte { return wideImports(0) }},
	"endless imports":                {services: 1, symbol: lyingFiles(func() []byte { return imports("0.proto") }), file: nextImports},
}

// wideImports returns a file that imports 400,000 others.
var wideImports = lyingFiles(func() []byte {
	paths := make([]string, 400_000)
	for i := range paths {
		paths[i] = fmt.Sprintf("%d.proto", i)
	}
	return imports(paths...)
})

// namesLimit matches the reason that leaves out a part of a lie.
const namesLimit = `more than|at most|too (many|large|long|much)|limit|left out`

// descriptorMemory is the limit for the descriptors of a server in MiB (package
// reflection).
const descriptorMemory = 256

var lyingCommands, lyingUpstreams = lieAttacks()

func lieAttacks() (commands []commandAttack, upstreams []attack) {
	for name, l := range lies {
		commands = append(commands,
			commandAttack{
				name:   "describe meets " + name,
				args:   func(t *testing.T) []string { t.Helper(); return []string{"describe", l.serve(t).String()} },
				output: namesLimit,
				peak:   descriptorMemory * 3 / 2,
			},
			commandAttack{ // needs one file
				name: "call meets " + name,
				args: func(t *testing.T) []string { t.Helper(); return []string{"call", l.serve(t).String(), "lie0.S/Do"} },
			})
		upstreams = append(upstreams, attack{
			name: "an upstream with " + name, target: besideHub(l.serve), held: descriptorMemory, left: descriptorMemory, // the upstream stays
			run: func(*attacker) error { return nil },
			then: func(a *attacker) error { // on a slow machine, the time for asking may be the first limit
				return a.victim.awaitLog(namesLimit+"|context deadline exceeded", tunneltest.Patience)
			},
		})
	}
	return commands, upstreams
}

// serve serves gRPC with the lie until t ends.
func (l *lie) serve(t *testing.T) net.Addr {
	t.Helper()
	srv := grpc.NewServer()
	grpc_reflection_v1.RegisterServerReflectionServer(srv, l)
	listener := tunneltest.Listen(t)
	go srv.Serve(listener)
	t.Cleanup(srv.Stop)
	return listener.Addr()
}

func (l *lie) ServerReflectionInfo(stream grpc_reflection_v1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client is done
		}
		if err := stream.Send(l.answer(req)); err != nil {
			return err
		}
	}
}

func (l *lie) answer(req *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
	if req.GetListServices() != "" {
		list := new(grpc_reflection_v1.ListServiceResponse)
		for i := range l.services {
			list.Service = append(list.Service, &grpc_reflection_v1.ServiceResponse{Name: fmt.Sprintf("lie%d.S", i)})
		}
		return &grpc_reflection_v1.ServerReflectionResponse{
			MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list},
		}
	}
	var file []byte
	if i := 0; strings.HasPrefix(req.GetFileContainingSymbol(), "lie") {
		_, _ = fmt.Sscanf(req.GetFileContainingSymbol(), "lie%d.", &i)
		file = l.symbol(i)
	} else if name := req.GetFileByFilename(); name != "" && l.file != nil {
		file = l.file(name)
	}
	if file == nil {
		return &grpc_reflection_v1.ServerReflectionResponse{
			MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{
				ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(codes.NotFound)},
			},
		}
	}
	return &grpc_reflection_v1.ServerReflectionResponse{
		MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{
			FileDescriptorResponse: &grpc_reflection_v1.FileDescriptorResponse{FileDescriptorProto: [][]byte{file}},
		},
	}
}

// The field numbers of google/protobuf/descriptor.proto. They are written as bytes,
// because descriptors would take ten times as much memory.
const (
	fileName, filePackage, fileDependency, fileMessage, fileEnum, fileService, fileSyntax = 1, 2, 3, 4, 5, 6, 12

	name = 1 // of every declaration

	messageField                              = 2
	fieldNumber, fieldLabel, fieldType        = 3, 4, 5
	enumValue, valueNumber                    = 2, 2
	serviceMethod, methodInput, methodOutput  = 2, 2, 3
	labelOptional, typeInt32                  = 1, 5
	firstReservedNumber, afterReservedNumbers = 19_000, 20_000
)

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func nested(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

func number(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
}

// lyingFile returns the file lie<i>.proto with the service lie<i>.S, its message M and
// more.
func lyingFile(i int, more []byte) []byte {
	pkg := fmt.Sprintf("lie%d", i)
	method := text(text(text(nil, name, "Do"), methodInput, "."+pkg+".M"), methodOutput, "."+pkg+".M")
	file := text(text(text(nil, fileName, pkg+".proto"), filePackage, pkg), fileSyntax, "proto3")
	file = nested(file, fileMessage, text(nil, name, "M"))
	file = nested(file, fileService, nested(text(nil, name, "S"), serviceMethod, method))
	return append(file, more...)
}

// lyingFiles returns a function that returns the i-th file with more.
func lyingFiles(more func() []byte) func(i int) []byte {
	more = sync.OnceValue(more)
	return func(i int) []byte { return lyingFile(i, more()) }
}

// fields returns a message with n fields.
func fields(n int) []byte {
	message := text(nil, name, "Wide")
	for i := range n {
		num := i + 1
		if num >= firstReservedNumber {
			num += afterReservedNumbers - firstReservedNumber
		}
		field := text(nil, name, fmt.Sprintf("f%d", i))
		message = nested(message, messageField, number(number(number(field, fieldNumber, num), fieldLabel, labelOptional), fieldType, typeInt32))
	}
	return nested(nil, fileMessage, message)
}

// enumValues returns an enum with n values.
func enumValues(n int) []byte {
	enum := text(nil, name, "Wide")
	for i := range n {
		enum = nested(enum, enumValue, number(text(nil, name, fmt.Sprintf("V%d", i)), valueNumber, i))
	}
	return nested(nil, fileEnum, enum)
}

func imports(paths ...string) []byte {
	var b []byte
	for _, path := range paths {
		b = text(b, fileDependency, path)
	}
	return b
}

// nextImports returns a file that imports ten new ones.
func nextImports(path string) []byte {
	var n int
	_, _ = fmt.Sscanf(path, "%d.proto", &n)
	var next []string
	for i := range 10 {
		next = append(next, fmt.Sprintf("%d.proto", 10*n+i+1))
	}
	return append(text(nil, fileName, path), imports(next...)...)
}
