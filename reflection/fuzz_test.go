package reflection

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// FuzzFileDescriptors handles a FileDescriptorSet as the files sent by a server: it
// builds a Set, merges it with another, looks up all of its files and symbols, and
// decodes a message.
func FuzzFileDescriptors(f *testing.F) {
	for _, sources := range []map[string]string{greeter(), first(), second(), {
		"e.proto": `edition = "2024"; package e; import "google/protobuf/descriptor.proto";
			enum E { A = 0; B = 1; } message M { E e = 1 [default = B]; oneof o { string s = 2; M m = 3; } map<string, M> map = 4;
			extensions 10 to max; extend M { M x = 10; } } extend google.protobuf.FieldOptions { string o = 50000; }`,
	}} {
		files := new(descriptorpb.FileDescriptorSet)
		files.File = protosOf(compile(f, sources))
		data, err := proto.Marshal(files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{0x0a, 0x01, 'x'})
	}
	lists := [][]*descriptorpb.FileDescriptorProto{
		{file("a.proto", "b.proto"), file("b.proto", "a.proto")},
		{file("google/protobuf/any.proto", "google/protobuf/any.proto"), file("grpc/health.proto")},
		{file("upstream-2/good.proto"), file("good.proto", "upstream-2/good.proto", "gone.proto")},
		{{Name: new("v.proto"), PublicDependency: []int32{-1, 9}, WeakDependency: []int32{3}, OptionDependency: []string{"v.proto"}}},
	}
	for _, odd := range incompleteFiles {
		lists = append(lists, odd.files())
	}
	for _, files := range lists {
		data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(nil))
	}
	other := compile(f, first())
	f.Fuzz(func(t *testing.T, data, message []byte) {
		files := new(descriptorpb.FileDescriptorSet)
		if proto.Unmarshal(data, files) != nil {
			return
		}
		fetch := newFetch(nil, "v1", nil)
		answer := new(grpc_reflection_v1.FileDescriptorResponse)
		for _, fdp := range files.GetFile() {
			raw, err := proto.Marshal(fdp)
			if err != nil {
				return
			}
			answer.FileDescriptorProto = append(answer.FileDescriptorProto, raw)
		}
		q := question{request: &request{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileByFilename{FileByFilename: "asked.proto"}}}
		fetch.handle(t.Context(), q, &response{
			MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: answer},
		})
		fetch.queueExtensions()
		set, err := fetch.b.build(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := NewMerged(4, nil)
		m.Set(0, other)
		m.Set(1, set)
		m.Set(2, set)
		m.Set(3, other)
		lookUpAll(t, m.state.Load(), set, message)
	})
}

// FuzzWeigh checks the estimate for an encoded file, or an answer with it, against the
// decoded message.
func FuzzWeigh(f *testing.F) {
	for _, fdp := range protosOf(compile(f, first())) {
		f.Add(encode(f, fdp), 1000)
	}
	f.Add([]byte{0x22, 0, 0x22, 0, 0x42, 4, 0xba, 0x3e, 1, 0}, 0) // empty messages, and an unknown option
	f.Add([]byte{0x4a, 6, 0x0a, 4, 0x0a, 2, 1, 2}, 1<<20)         // packed numbers
	f.Add([]byte{0x23, 0x08, 1, 0x24}, 1<<20)                     // a group
	f.Add(bytes.Repeat([]byte{0x59, 1, 2, 3, 4, 5, 6, 7, 8}, 50), 900)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		for _, m := range []proto.Message{new(descriptorpb.FileDescriptorProto), new(response)} {
			md := m.ProtoReflect().Descriptor()
			all, err := weigh(md, data, math.MaxInt)
			if err != nil {
				continue
			}
			if _, err := weigh(md, data, limit); (err != nil) != (all.decoded+all.built > limit) {
				t.Errorf("weigh within %d = %v, the sum is %d", limit, err, all.decoded+all.built)
			}
			if proto.Unmarshal(data, m) != nil {
				continue
			}
			if size := sizeOf(m.ProtoReflect()); size > all.decoded {
				t.Errorf("%s needs %d bytes, the estimate is %d", md.Name(), size, all.decoded)
			}
		}
		_ = pathOf(data)
	})
}

// sizeOf returns a lower bound of the memory that a message needs.
func sizeOf(m protoreflect.Message) int {
	size := int(reflect.TypeOf(m.Interface()).Elem().Size()) + len(m.GetUnknown())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		one := func(v protoreflect.Value) {
			switch fd.Kind() {
			case protoreflect.MessageKind, protoreflect.GroupKind:
				size += 8 + sizeOf(v.Message())
			case protoreflect.StringKind:
				size += 16 + len(v.String())
			case protoreflect.BytesKind:
				size += 24 + len(v.Bytes())
			default:
				size++
			}
		}
		if !fd.IsList() {
			one(v)
			return true
		}
		for i := range v.List().Len() {
			one(v.List().Get(i))
		}
		return true
	})
	return size
}

// lookUpAll looks up each file, symbol and extension of a Set.
func lookUpAll(t *testing.T, now *snapshot, set *Set, message []byte) {
	t.Helper()
	for _, file := range set.order {
		out := new(response)
		answerFiles(now, make(map[string]bool), file.path, "", out)
		if out.GetFileDescriptorResponse() == nil {
			t.Errorf("file %q is not served", file.path)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Errorf("answer for %q: %v", file.path, err)
		}
		if f := now.file(file.path); f.path != file.path || !slices.Equal(importsOf(t, f), servedImports(f)) {
			t.Errorf("file %q is served as %q with the imports %q, want %q", file.path, f.path, importsOf(t, f), servedImports(f))
		}
	}
	set.Files().RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			if name := fd.Services().Get(i).FullName(); now.pathOfSymbol(name) == "" {
				t.Errorf("service %q is not served", name)
			}
		}
		for i := range fd.Messages().Len() {
			md := fd.Messages().Get(i)
			if now.pathOfSymbol(md.FullName()) == "" {
				t.Errorf("message %q is not served", md.FullName())
			}
			for _, n := range now.extensionNumbers(md.FullName()) {
				if now.pathOfExtension(md.FullName(), protoreflect.FieldNumber(n)) == "" {
					t.Errorf("extension %d of %q is not served", n, md.FullName())
				}
			}
			m := dynamicpb.NewMessage(md)
			if (proto.UnmarshalOptions{Resolver: set.Types(), RecursionLimit: 100}).Unmarshal(message, m) == nil {
				_, _ = proto.Marshal(m)
			}
		}
		return true
	})
}
