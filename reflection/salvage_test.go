package reflection

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// incompleteFile has a service with two methods. One declaration in it is invalid.
type incompleteFile struct {
	name    string
	change  func(*descriptorpb.FileDescriptorProto)
	problem string   // names it
	missing []string // symbols
}

var incompleteFiles = []incompleteFile{
	{"an enum that repeats a number", func(fdp *descriptorpb.FileDescriptorProto) {
		fdp.EnumType = []*descriptorpb.EnumDescriptorProto{{Name: new("E"), Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: new("A"), Number: new(int32(0))}, {Name: new("B"), Number: new(int32(0))},
		}}}
	}, `"odd.proto": odd.E is left out: enum "odd.E" has conflicting non-aliased values on number 0: "B" with "A"`, []string{"odd.E", "odd.A"}},
	{"a MessageSet", func(fdp *descriptorpb.FileDescriptorProto) {
		fdp.Syntax = new("proto2")
		fdp.MessageType = append(fdp.MessageType, &descriptorpb.DescriptorProto{
			Name: new("Set"), Options: &descriptorpb.MessageOptions{MessageSetWireFormat: new(true)},
			ExtensionRange: []*descriptorpb.DescriptorProto_ExtensionRange{{Start: new(int32(4)), End: new(int32(1<<31 - 1))}},
		})
	}, `odd.Set is left out: message "odd.Set" is a MessageSet`, []string{"odd.Set"}},
	{"a nested message that repeats a field", func(fdp *descriptorpb.FileDescriptorProto) {
		field := &descriptorpb.FieldDescriptorProto{Name: new("f"), Number: new(int32(1)), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()}
		fdp.MessageType[0].NestedType = []*descriptorpb.DescriptorProto{{Name: new("N"), Field: []*descriptorpb.FieldDescriptorProto{field, field}}}
	}, `odd.M.N is left out: descriptor "odd.M.N.f" already declared`, []string{"odd.M.N"}},
	{"a method with an invalid type", func(fdp *descriptorpb.FileDescriptorProto) {
		fdp.Service[0].Method[1].InputType = new("..")
	}, `odd.S.Other is left out: service method "odd.S.Other" cannot resolve input`, []string{"odd.S.Other"}},
	{"a symbol of another file", func(fdp *descriptorpb.FileDescriptorProto) {
		fdp.MessageType = append(fdp.MessageType, &descriptorpb.DescriptorProto{Name: new("Taken")})
	}, `odd.Taken is left out: file "odd.proto" has a name conflict over odd.Taken`, nil},
}

// files returns the incomplete file, and one that defines odd.Taken.
func (f *incompleteFile) files() []*descriptorpb.FileDescriptorProto {
	odd := file("odd.proto")
	odd.Service[0].Method = append(odd.Service[0].Method, &descriptorpb.MethodDescriptorProto{Name: new("Other"), InputType: new(".odd.M"), OutputType: new(".odd.M")})
	f.change(odd)
	taken := &descriptorpb.FileDescriptorProto{Name: new("a.proto"), Package: new("odd"), MessageType: []*descriptorpb.DescriptorProto{{Name: new("Taken")}}}
	return []*descriptorpb.FileDescriptorProto{taken, odd}
}

// checkIncomplete expects that everything complete is usable, and that the error of
// everything else has the reason.
func (f *incompleteFile) check(ctx context.Context, t *testing.T, c *Catalog) {
	t.Helper()
	for kind, name := range map[Kind]string{Method: "odd.S.Do", Service: "S", Any: "odd.M"} {
		if _, err := c.Resolve(ctx, kind, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range append(f.missing, "odd.Unknown") {
		if _, err := c.Resolve(ctx, Any, name); err == nil || !strings.Contains(err.Error(), f.problem) {
			t.Errorf("Resolve(%s) = %v, want %s in it", name, err, f.problem)
		}
	}
}

func TestSalvageReflection(t *testing.T) {
	t.Parallel()
	for _, f := range incompleteFiles {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := &scriptedServer{answer: answerFrom(t, []string{"odd.S"}, f.files()...)}
			source := FromServer(l.serve(t), nil)
			set, err := source.Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			// Its client receives the original file, and salvages that.
			_, cc := merged(t, set)
			for _, source := range []Finder{source, FromServer(cc, nil)} {
				if f.missing != nil { // otherwise nothing asks for the other file
					f.check(testContext(t), t, NewCatalog(source))
				}
			}
		})
	}
}

func TestSalvageProtosets(t *testing.T) {
	t.Parallel()
	for _, f := range incompleteFiles {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: f.files()})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "odd.binpb")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := LoadProtosets([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			f.check(testContext(t), t, NewCatalog(FromSet(set)))
		})
	}
}

func TestSalvageProtos(t *testing.T) {
	t.Parallel()
	set := compile(t, map[string]string{"old.proto": `syntax = "proto2"; package old;
		message Set { option message_set_wire_format = true; extensions 4 to max; }
		message Uses { optional Set set = 1; }
		service S { rpc Good(M) returns (Uses); rpc Bad(Set) returns (M); }
		message M { optional string text = 1; }`})
	c := NewCatalog(FromSet(set))
	for _, name := range []string{"old.S.Good", "old.S.Bad", "old.Uses"} {
		s, err := c.Resolve(testContext(t), Any, name)
		if err != nil {
			t.Fatal(err)
		}
		if problem := s.Problem("old.Set"); !strings.Contains(problem, "MessageSet") {
			t.Errorf("%s: problem %q", name, problem)
		}
		if d, err := Describe(testContext(t), s.Descriptor); err != nil || name != "old.S.Good" && !strings.Contains(d.Text, ".old.Set") {
			t.Errorf("Describe(%s) = %v, %v", name, d, err)
		}
	}
	if _, err := c.Resolve(testContext(t), Any, "old.Set"); err == nil || !strings.Contains(err.Error(), "MessageSet") {
		t.Errorf("Resolve(old.Set) = %v", err)
	}
}

// A server can't make the work grow with the number of invalid declarations.
func TestSalvageIsBounded(t *testing.T) {
	t.Parallel()
	fdp := file("odd.proto")
	for i := range 2 * maxLeftOut {
		fdp.EnumType = append(fdp.EnumType, &descriptorpb.EnumDescriptorProto{Name: new("E" + strings.Repeat("x", i))})
	}
	l := &scriptedServer{answer: answerFrom(t, []string{"odd.S"}, fdp)}
	set, err := FromServer(l.serve(t), nil).Files(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if problems := problemsOf(set); len(problems) != 1 || !strings.HasPrefix(problems[0], `"odd.proto" is left out: `) {
		t.Errorf("problems %q", problems)
	}
	if !slices.Equal(set.Services(), []string{"odd.S"}) {
		t.Errorf("services %q", set.Services())
	}
}
