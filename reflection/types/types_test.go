package types

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/gofeaturespb" // a linked extension
	_ "google.golang.org/protobuf/types/known/durationpb"
)

// resolver returns a Resolver with a message p.M, with the given field, and the given
// extension of M.
func resolver(t *testing.T, field, extension string) Resolver {
	t.Helper()
	optional := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	text := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("p.proto"), Package: new("p"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:           new("M"),
			Field:          []*descriptorpb.FieldDescriptorProto{{Name: new(field), Number: new(int32(1)), Label: optional, Type: text}},
			ExtensionRange: []*descriptorpb.DescriptorProto_ExtensionRange{{Start: new(int32(100)), End: new(int32(200))}},
		}},
		Extension: []*descriptorpb.FieldDescriptorProto{{Name: new(extension), Number: new(int32(100)), Label: optional, Type: text, Extendee: new(".p.M")}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := new(protoregistry.Files)
	if err := files.RegisterFile(fd); err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewTypes(files)
}

func TestResolvers(t *testing.T) {
	t.Parallel()
	rs := Resolvers{resolver(t, "a", "x"), resolver(t, "b", "y")}
	for _, url := range []string{"p.M", "type.googleapis.com/p.M", "a/b/p.M"} {
		if mt, err := rs.FindMessageByURL(url); err != nil || mt.Descriptor().Fields().Get(0).Name() != "a" {
			t.Errorf("FindMessageByURL(%q) = %v, %v, want that of the first", url, mt, err)
		}
	}
	if xt, err := rs.FindExtensionByNumber("p.M", 100); err != nil || xt.TypeDescriptor().FullName() != "p.x" {
		t.Errorf("FindExtensionByNumber = %v, %v, want p.x", xt, err)
	}
	if xt, err := rs.FindExtensionByName("p.y"); err != nil || xt.TypeDescriptor().FullName() != "p.y" {
		t.Errorf("FindExtensionByName(p.y) = %v, %v", xt, err)
	}
	for _, rs := range []Resolvers{nil, rs} {
		if _, err := rs.FindMessageByURL("x/google.protobuf.Duration"); err != nil {
			t.Error(err)
		}
		if _, err := rs.FindExtensionByName("pb.go"); err != nil {
			t.Error(err)
		}
		if _, err := rs.FindExtensionByNumber("google.protobuf.FeatureSet", 1002); err != nil {
			t.Error(err)
		}
		for _, name := range []protoreflect.FullName{"p.N", ""} {
			if _, err := rs.FindMessageByName(name); !errors.Is(err, protoregistry.NotFound) {
				t.Errorf("FindMessageByName(%q) = %v, want NotFound", name, err)
			}
		}
		if _, err := rs.FindExtensionByNumber("p.M", 101); !errors.Is(err, protoregistry.NotFound) {
			t.Errorf("FindExtensionByNumber(101) = %v, want NotFound", err)
		}
	}
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	rs := Resolvers{dynamicpb.NewTypes(protoregistry.GlobalFiles)}
	long := protoreflect.FullName("p" + strings.Repeat(".a", 1<<20))
	if _, err := rs.FindMessageByURL("x/" + string(long)); err != protoregistry.NotFound { //nolint:errorlint // as protojson compares it
		t.Errorf("FindMessageByURL = %v, want NotFound", err)
	}
	if _, err := rs.FindExtensionByName(long); err != protoregistry.NotFound { //nolint:errorlint // likewise
		t.Errorf("FindExtensionByName = %v, want NotFound", err)
	}
}
