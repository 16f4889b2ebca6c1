package reflection

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// declarations is a number for which maps have the least load.
const declarations = 3650

// heapBytes returns the size of the live heap.
func heapBytes() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// kinds returns a file with many declarations for each kind of them.
func kinds() map[string]*descriptorpb.FileDescriptorProto {
	const n = declarations
	all := make(map[string]*descriptorpb.FileDescriptorProto)
	add := func(kind string, fdp *descriptorpb.FileDescriptorProto) {
		fdp.Name = new("f.proto")
		all[kind] = fdp
	}
	fields := func(f func(i int32, fd *descriptorpb.FieldDescriptorProto)) (list []*descriptorpb.FieldDescriptorProto) {
		for i := range int32(n) {
			fd := declared("f"+strconv.Itoa(int(i)), 1+i%10_000+i/10_000*20_000)
			if f != nil {
				f(i, fd)
			}
			list = append(list, fd)
		}
		return list
	}
	message := func(m *descriptorpb.DescriptorProto) []*descriptorpb.DescriptorProto {
		m.Name = new("M")
		return []*descriptorpb.DescriptorProto{m}
	}
	add("fields", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{Field: fields(nil)})})
	add("long fields", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{Field: fields(func(i int32, fd *descriptorpb.FieldDescriptorProto) {
		fd.Name = new("some_longer_name_of_f" + strconv.Itoa(int(i)))
		fd.JsonName = new("someLongerNameOfF" + strconv.Itoa(int(i)))
		fd.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		fd.TypeName = new(".M")
		fd.Options = &descriptorpb.FieldOptions{Deprecated: new(true)}
	})})})
	add("one oneof", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{
		Field:     fields(func(_ int32, fd *descriptorpb.FieldDescriptorProto) { fd.OneofIndex = new(int32(0)) }),
		OneofDecl: []*descriptorpb.OneofDescriptorProto{{Name: new("o")}},
	})})
	var oneofs []*descriptorpb.OneofDescriptorProto
	var values []*descriptorpb.EnumValueDescriptorProto
	var enums []*descriptorpb.EnumDescriptorProto
	var messages, small []*descriptorpb.DescriptorProto
	var services []*descriptorpb.ServiceDescriptorProto
	var methods []*descriptorpb.MethodDescriptorProto
	var ranges []*descriptorpb.DescriptorProto_ExtensionRange
	var reserved []*descriptorpb.DescriptorProto_ReservedRange
	var reservedEnum []*descriptorpb.EnumDescriptorProto_EnumReservedRange
	var locations []*descriptorpb.SourceCodeInfo_Location
	var reservedNames []string
	var uninterpreted []*descriptorpb.UninterpretedOption
	for i := range int32(n) {
		oneofs = append(oneofs, &descriptorpb.OneofDescriptorProto{Name: new("o" + strconv.Itoa(int(i)))})
		values = append(values, &descriptorpb.EnumValueDescriptorProto{Name: new("V" + strconv.Itoa(int(i))), Number: new(i)})
		enums = append(enums, &descriptorpb.EnumDescriptorProto{Name: new("E" + strconv.Itoa(int(i))), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: new("W" + strconv.Itoa(int(i))), Number: new(int32(0))}}})
		messages = append(messages, &descriptorpb.DescriptorProto{Name: new("M" + strconv.Itoa(int(i)))})
		small = append(small, &descriptorpb.DescriptorProto{Name: new("M" + strconv.Itoa(int(i))), Field: []*descriptorpb.FieldDescriptorProto{declared("a", 1)}})
		services = append(services, &descriptorpb.ServiceDescriptorProto{Name: new("S" + strconv.Itoa(int(i)))})
		methods = append(methods, &descriptorpb.MethodDescriptorProto{Name: new("Do" + strconv.Itoa(int(i))), InputType: new(".M"), OutputType: new(".M")})
		ranges = append(ranges, &descriptorpb.DescriptorProto_ExtensionRange{Start: new(3*i + 1), End: new(3*i + 2)})
		reserved = append(reserved, &descriptorpb.DescriptorProto_ReservedRange{Start: new(3*i + 1), End: new(3*i + 2)})
		reservedEnum = append(reservedEnum, &descriptorpb.EnumDescriptorProto_EnumReservedRange{Start: new(3*i + 1), End: new(3*i + 2)})
		locations = append(locations, &descriptorpb.SourceCodeInfo_Location{Path: []int32{4, i, 2, 1}, Span: []int32{1, 2, 3}})
		reservedNames = append(reservedNames, "r"+strconv.Itoa(int(i)))
		uninterpreted = append(uninterpreted, &descriptorpb.UninterpretedOption{})
	}
	add("oneofs", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{
		Field: fields(func(i int32, fd *descriptorpb.FieldDescriptorProto) { fd.OneofIndex = new(i) }), OneofDecl: oneofs,
	})})
	add("values", &descriptorpb.FileDescriptorProto{EnumType: []*descriptorpb.EnumDescriptorProto{{Name: new("E"), Value: values}}})
	add("enums", &descriptorpb.FileDescriptorProto{EnumType: enums})
	add("messages", &descriptorpb.FileDescriptorProto{MessageType: messages})
	add("nested", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{NestedType: messages})})
	add("small", &descriptorpb.FileDescriptorProto{MessageType: small})
	add("services", &descriptorpb.FileDescriptorProto{Service: services})
	add("methods", &descriptorpb.FileDescriptorProto{Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("S"), Method: methods}}, MessageType: message(&descriptorpb.DescriptorProto{})})
	add("ranges", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{ExtensionRange: ranges})})
	add("reserved", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{ReservedRange: reserved})})
	add("reserved names", &descriptorpb.FileDescriptorProto{MessageType: message(&descriptorpb.DescriptorProto{ReservedName: reservedNames})})
	add("reserved values", &descriptorpb.FileDescriptorProto{EnumType: []*descriptorpb.EnumDescriptorProto{{Name: new("E"), Value: values[:1], ReservedRange: reservedEnum}}})
	add("locations", &descriptorpb.FileDescriptorProto{SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: locations}})
	add("uninterpreted", &descriptorpb.FileDescriptorProto{Options: &descriptorpb.FileOptions{UninterpretedOption: uninterpreted}})
	add("extensions", &descriptorpb.FileDescriptorProto{
		MessageType: message(&descriptorpb.DescriptorProto{ExtensionRange: []*descriptorpb.DescriptorProto_ExtensionRange{{Start: new(int32(1)), End: new(int32(1 << 28))}}}),
		Extension:   fields(func(_ int32, fd *descriptorpb.FieldDescriptorProto) { fd.Extendee = new(".M") }),
	})
	return all
}

// TestWeigh compares the estimates with the allocations of proto.Unmarshal and protodesc. It
// measures the heap, and therefore runs in a process of its own.
func TestWeigh(t *testing.T) {
	const alone = "WSTUN_TEST_ALONE"
	if os.Getenv(alone) == "" {
		t.Parallel()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestWeigh$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for kind, fdp := range kinds() {
		raw := encode(t, fdp)
		w, err := weigh(fileType, raw, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		b := newBudget(math.MaxInt)
		names, _, err := b.surveyFile(fdp)
		if err != nil {
			t.Fatal(err)
		}
		before := heapBytes()
		fdp := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(raw, fdp); err != nil {
			t.Fatal(err)
		}
		decoded := heapBytes() - before
		set := newSet()
		fd, err := protodesc.NewFile(fdp, set.registry)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.registry.RegisterFile(fd); err != nil {
			t.Fatal(err)
		}
		set.addExtensions(fd)
		touch(fd)
		_, _ = set.types.FindExtensionByNumber("M", 1)
		runtime.KeepAlive(fdp) // not longer
		built := heapBytes() - before
		runtime.KeepAlive(set)
		w.built += names
		const n = declarations
		t.Logf("%-16s %3d bytes encoded, %4d decoded (estimate %4d), %4d built (estimate %4d)", kind, len(raw)/n, decoded/n, w.decoded/n, built/n, w.built/n)
		// The race detector changes how allocations are rounded.
		if decoded > w.decoded*21/20 || built > w.built*21/20 || decoded+built < (w.decoded+w.built)/3 {
			t.Errorf("%s need %d+%d bytes, the estimate is %d+%d", kind, decoded/n, built/n, w.decoded/n, w.built/n)
		}
	}
}

// touch makes the descriptors build their indexes.
func touch(fd protoreflect.FileDescriptor) {
	fd.SourceLocations().ByPath(nil)
	fd.Enums().ByName("")
	fd.Messages().ByName("")
	fd.Extensions().ByName("")
	fd.Services().ByName("")
	for i := range fd.Services().Len() {
		fd.Services().Get(i).Methods().ByName("")
	}
	for i := range fd.Messages().Len() {
		md := fd.Messages().Get(i)
		md.Fields().ByName("")
		md.Fields().ByJSONName("")
		md.Messages().ByName("")
		md.Enums().ByName("")
		md.Oneofs().ByName("")
		md.RequiredNumbers().Has(1)
	}
}
