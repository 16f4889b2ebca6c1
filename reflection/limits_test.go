package reflection

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
)

func declared(name string, number int32) *descriptorpb.FieldDescriptorProto {
	return &descriptorpb.FieldDescriptorProto{
		Name: &name, Number: &number,
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum(),
	}
}

// referring returns a field whose type is a message.
func referring(name string, number int32, typ string) *descriptorpb.FieldDescriptorProto {
	f := declared(name, number)
	f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), &typ
	return f
}

// withFields returns a file with n fields.
func withFields(path string, n int) *descriptorpb.FileDescriptorProto {
	fdp := file(path)
	m := fdp.GetMessageType()[0]
	for i := range n {
		m.Field = append(m.Field, declared("f"+strconv.Itoa(i), int32(1+i%10_000+i/10_000*20_000)))
	}
	return fdp
}

// emptyEntries returns an encoded file with n empty elements of a repeated field.
func emptyEntries(t *testing.T, path string, field protowire.Number, n int) []byte {
	t.Helper()
	out := encode(t, &descriptorpb.FileDescriptorProto{Name: &path})
	for range n {
		out = protowire.AppendBytes(protowire.AppendTag(out, field, protowire.BytesType), nil)
	}
	return out
}

// describeFiles builds a Set of files as if a server had sent them in one answer.
func describeFiles(t *testing.T, f *fetch, files ...[]byte) *Set {
	t.Helper()
	f.addFiles(t.Context(), question{request: &request{}}, files)
	set, err := f.b.build(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestWorkIsBounded has files that are small but would keep protodesc and the registries
// busy for minutes or hours.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	const tooMuch = "take more than 3000000000 steps"
	for name, tc := range map[string]struct {
		files   func() []*descriptorpb.FileDescriptorProto
		problem string // a part of one; "": the files are usable
	}{
		"relative names in a deep package": {func() []*descriptorpb.FileDescriptorProto {
			fdp := file("a.proto")
			fdp.Package = new("a" + strings.Repeat(".a", 400))
			for i := range int32(1000) {
				fdp.MessageType[0].Field = append(fdp.MessageType[0].Field, referring(fmt.Sprintf("f%d", i), i+1, "x.y"))
			}
			return []*descriptorpb.FileDescriptorProto{fdp}
		}, tooMuch},
		"a deep package": {func() []*descriptorpb.FileDescriptorProto {
			fdp := file("a.proto")
			fdp.Package = new("a" + strings.Repeat(".a", 1_000_000))
			return []*descriptorpb.FileDescriptorProto{fdp}
		}, "longer than 1024 bytes"},
		"a reference with many parts": {func() []*descriptorpb.FileDescriptorProto {
			fdp := file("a.proto")
			fdp.Service[0].Method[0].InputType = new(strings.Repeat(".a", 1_000_000))
			return []*descriptorpb.FileDescriptorProto{fdp}
		}, "longer than 1024 bytes"},
		"a long path": {func() []*descriptorpb.FileDescriptorProto {
			return []*descriptorpb.FileDescriptorProto{file(strings.Repeat("a", 2000))}
		}, "longer than 1024 bytes"},
		"references past many enums": {func() []*descriptorpb.FileDescriptorProto {
			a, b := file("a.proto"), file("b.proto", "a.proto")
			for i := range 5000 {
				a.MessageType[0].EnumType = append(a.MessageType[0].EnumType, &descriptorpb.EnumDescriptorProto{
					Name:  new(fmt.Sprintf("E%d", i)),
					Value: []*descriptorpb.EnumValueDescriptorProto{{Name: new(fmt.Sprintf("V%d", i)), Number: new(int32(0))}},
				})
			}
			a.MessageType[0].NestedType = []*descriptorpb.DescriptorProto{{Name: new("N")}}
			for i := range int32(15_000) {
				b.MessageType[0].Field = append(b.MessageType[0].Field, referring(fmt.Sprintf("f%d", i), i+1, ".a.M.N"))
			}
			return []*descriptorpb.FileDescriptorProto{a, b}
		}, tooMuch},
		"wide imports": {func() (files []*descriptorpb.FileDescriptorProto) {
			var paths []string
			for i := range 95 {
				path := fmt.Sprintf("f%02d.proto", i)
				files = append(files, file(path, slices.Clone(paths)...))
				paths = append(paths, path)
			}
			return files
		}, "too many imports of imports"},
		"missing imports": {func() []*descriptorpb.FileDescriptorProto {
			fdp := file("a.proto")
			for i := range 200_000 {
				fdp.Dependency = append(fdp.Dependency, strconv.Itoa(i))
			}
			return []*descriptorpb.FileDescriptorProto{fdp}
		}, "which is missing"},
		"fields": {func() []*descriptorpb.FileDescriptorProto {
			return []*descriptorpb.FileDescriptorProto{withFields("a.proto", 20_000)}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFetch(nil, "v1", nil)
			f.b.budget.imports = maxImportSteps / 1000
			var raw [][]byte
			for _, fdp := range tc.files() {
				raw = append(raw, encode(t, fdp))
			}
			set := describeFiles(t, f, raw...)
			problems := strings.Join(problemsOf(set), "\n")
			if !strings.Contains(problems, tc.problem) || tc.problem == "" && problems != "" {
				t.Errorf("Problems = %.1000q, want %q", problems, tc.problem)
			}
			if limited := strings.HasPrefix(tc.problem, "take more") || strings.HasPrefix(tc.problem, "too many"); limited && set.limit == nil {
				t.Error("the Set doesn't have the limit")
			}
			if f.b.budget.work < 0 || f.b.budget.imports < 0 {
				t.Errorf("%d steps and %d imports are left", f.b.budget.work, f.b.budget.imports)
			}
		})
	}
}

// TestWorkOfRepeatedFiles: a file that a server sends again costs nothing, but other
// contents do.
func TestWorkOfRepeatedFiles(t *testing.T) {
	t.Parallel()
	f := newFetch(nil, "v1", nil)
	raw := encode(t, withFields("a.proto", 100))
	once := func() int {
		before := f.b.budget.work
		f.addFiles(t.Context(), question{request: &request{}}, [][]byte{raw})
		return before - f.b.budget.work
	}
	first := once()
	if again := once(); first == 0 || again != 0 {
		t.Errorf("a file costs %d steps, and %d when it is sent again", first, again)
	}
	raw = encode(t, withFields("a.proto", 200))
	if other := once(); other <= first {
		t.Errorf("a larger file with the same path costs %d steps, want more than %d", other, first)
	}
	if want := []string{`"a.proto" appears twice with different contents`}; !slices.Equal(f.b.set.problems, want) {
		t.Errorf("Problems = %q, want %q", f.b.set.problems, want)
	}
}

// TestWorkOfExtensionNumbers has an answer that repeats one number.
func TestWorkOfExtensionNumbers(t *testing.T) {
	t.Parallel()
	f := newFetch(nil, "v1", nil)
	f.b.budget.work = 100_000
	q := question{request: &request{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: "a.M"}}}
	f.handle(t.Context(), q, &response{MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_AllExtensionNumbersResponse{
		AllExtensionNumbersResponse: &grpc_reflection_v1.ExtensionNumberResponse{ExtensionNumber: make([]int32, 1_000_000)},
	}})
	if left := f.b.budget.work; len(f.queue) != 1 || left > 1000 {
		t.Errorf("%d questions, %d steps left", len(f.queue), left)
	}
}

// TestLargeServer has a tenth of the files that fit into the memory for one server.
func TestLargeServer(t *testing.T) {
	t.Parallel()
	files, services := largeServer(360)
	var raw [][]byte
	for _, fdp := range files {
		raw = append(raw, encode(t, fdp))
	}
	f := newFetch(nil, "v1", nil)
	f.b.memory.limit, f.b.budget.work = maxMemory/10, maxWork/10
	set := describeFiles(t, f, raw...)
	checkSet(t, set, services, nil)
	if left := f.b.budget.work; left < maxWork/20 {
		t.Errorf("%d steps are left, want half of them", left)
	}
}

// TestAnswersAreBounded has answers that are small on the wire and large when decoded.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	many := slices.Repeat([]*grpc_reflection_v1.ServiceResponse{{}}, 4_000_000)
	bomb := &response{MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{
		ListServicesResponse: &grpc_reflection_v1.ListServiceResponse{Service: many},
	}}
	const text = "need more than 256 MiB"
	l := &scriptedServer{answer: func(*request) *response { return bomb }}
	_, _, err := FromServer(l.serve(t), nil).List(testContext(t))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), text) {
		t.Errorf("List = %v, want ResourceExhausted: … %s", err, text)
	}
	l = &scriptedServer{answer: func(r *request) *response {
		if r.GetListServices() != "" {
			return listOf("a.S", "a"+strings.Repeat(".a", 1_000_000))
		}
		return bomb
	}}
	set, err := FromServer(l.serve(t), nil).Files(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.S"}; !slices.Equal(set.Services(), want) {
		t.Errorf("Services = %.100q, want %q", set.Services(), want)
	}
	checkSet(t, set, nil, []string{"symbol a.S: the descriptors of this server " + text + ": the rest is left out"})
}

// largeServer returns the files of a server about as large as one with all public APIs of Google.
func largeServer(files int) (all []*descriptorpb.FileDescriptorProto, services []string) {
	optional := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	for i := range files {
		pkg := fmt.Sprintf("example.cloud.product%d.v1", i)
		fdp := &descriptorpb.FileDescriptorProto{
			Name: new(fmt.Sprintf("example/cloud/product%d/v1/service.proto", i)), Package: &pkg, Syntax: new("proto3"),
			Options: &descriptorpb.FileOptions{
				GoPackage: new("cloud.example.com/go/" + pkg + "/apiv1/" + pkg + "pb"), JavaPackage: new("com." + pkg), JavaOuterClassname: new("ServiceProto"),
				JavaMultipleFiles: new(true), CsharpNamespace: new(pkg), PhpNamespace: new(pkg), RubyPackage: new(pkg),
			},
		}
		for k := max(0, i-5); k < i; k++ {
			fdp.Dependency = append(fdp.Dependency, fmt.Sprintf("example/cloud/product%d/v1/service.proto", k))
		}
		for k := range 10 {
			m := &descriptorpb.DescriptorProto{Name: new(fmt.Sprintf("ListProductResources%dRequest", k))}
			for n := range int32(7) {
				f := &descriptorpb.FieldDescriptorProto{
					Name: new(fmt.Sprintf("resource_display_name_%d", n)), JsonName: new(fmt.Sprintf("resourceDisplayName%d", n)),
					Number: new(n + 1), Label: optional, Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
				}
				if n%2 == 0 {
					f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), new("."+pkg+".ListProductResources0Request")
				}
				if n%3 == 0 {
					f.Options = &descriptorpb.FieldOptions{Deprecated: new(false)}
					f.Options.ProtoReflect().SetUnknown([]byte{0xe2, 0xf3, 0x18, 1, 2})
				}
				m.Field = append(m.Field, f)
			}
			fdp.MessageType = append(fdp.MessageType, m)
		}
		e := &descriptorpb.EnumDescriptorProto{Name: new("State")}
		for n := range int32(6) {
			e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: new(fmt.Sprintf("STATE_NUMBER_%d", n)), Number: new(n)})
		}
		fdp.EnumType = append(fdp.EnumType, e)
		s := &descriptorpb.ServiceDescriptorProto{Name: new("ProductService")}
		for n := range 5 {
			t := new(fmt.Sprintf(".%s.ListProductResources%dRequest", pkg, n))
			o := new(descriptorpb.MethodOptions)
			o.ProtoReflect().SetUnknown(append([]byte{0x82, 0xd3, 0xe4, 0x93, 0x02, 60}, make([]byte, 60)...))
			s.Method = append(s.Method, &descriptorpb.MethodDescriptorProto{Name: new(fmt.Sprintf("ListProductResources%d", n)), InputType: t, OutputType: t, Options: o})
		}
		fdp.Service = append(fdp.Service, s)
		all = append(all, fdp)
		services = append(services, pkg+".ProductService")
	}
	return all, services
}
