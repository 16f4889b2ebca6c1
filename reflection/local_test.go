package reflection

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoset writes a protoset of the files of a Set, except those named by without.
func protoset(t *testing.T, set *Set, without ...string) string {
	t.Helper()
	files := new(descriptorpb.FileDescriptorSet)
	for _, fdp := range protosOf(set) {
		if !slices.Contains(without, fdp.GetName()) {
			files.File = append(files.File, fdp)
		}
	}
	data, err := proto.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "files.binpb")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadProtosets(t *testing.T) {
	t.Parallel()
	set := compile(t, greeter())
	path := protoset(t, set, "google/protobuf/timestamp.proto")
	got, err := LoadProtosets([]string{path, path})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"greet.Greeter"}; !slices.Equal(got.Services(), want) {
		t.Errorf("Services = %q, want %q", got.Services(), want)
	}
	if _, err := got.Files().FindDescriptorByName("google.protobuf.Timestamp"); err != nil {
		t.Errorf("google.protobuf.Timestamp: %v", err)
	}
	other := protoset(t, compile(t, map[string]string{"common.proto": `syntax = "proto3"; message Other {}`}))
	text := filepath.Join(protos(t, map[string]string{"text": "not a protoset"}), "text")
	for want, paths := range map[string][]string{
		`"greet/greet.proto" imports "common.proto", which is missing`: {protoset(t, set, "common.proto")},
		`"common.proto" appears twice with different contents`:         {path, other},
		"is not a protoset":   {text},
		"read protoset: open": {filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := LoadProtosets(paths); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("LoadProtosets = %v, want %q in it", err, want)
		}
	}
}

func TestLoadProtos(t *testing.T) {
	t.Parallel()
	const service = ` message M { string a = 1; google.protobuf.Any any = 2; } service S { rpc Do(M) returns (M); }`
	const imports = ` package p; import "google/protobuf/any.proto";`
	dir := protos(t, map[string]string{
		"proto3.proto": `syntax = "proto3";` + imports + service,
		"proto2.proto": `syntax = "proto2";` + imports + strings.ReplaceAll(
			strings.ReplaceAll(service, "string", "optional string"), "google.protobuf.Any a", "optional google.protobuf.Any a"),
		"2023.proto":         `edition = "2023";` + imports + service,
		"2024.proto":         `edition = "2024";` + imports + ` import option "opt/opts.proto"; option (tag) = "x";` + service,
		"opt/opts.proto":     `edition = "2024"; package p; import "google/protobuf/descriptor.proto"; extend google.protobuf.FileOptions { string tag = 50001; }`,
		"sub/relative.proto": `syntax = "proto3"; package sub; import "sub/other.proto"; service R { rpc Do(O) returns (O); }`,
		"sub/other.proto":    `syntax = "proto3"; package sub; message O {}`,
		"sibling.proto":      `syntax = "proto3"; import "proto3.proto"; service T { rpc Do(p.M) returns (p.M); }`,
		"rpc.proto":          `syntax = "proto3"; package p; import "google/rpc/status.proto"; service V { rpc Do(google.rpc.Status) returns (google.rpc.Status); }`,
		"broken.proto":       "syntax = \"proto3\";\nmessage M {\n  string = 1;\n}",
		"unknown.proto":      "syntax = \"proto3\";\nmessage M { Missing m = 1; }",
		"missing.proto":      "syntax = \"proto3\";\nimport \"dir/none.proto\";",
	})
	for path, want := range map[string]string{
		"proto3.proto": "p.S", "proto2.proto": "p.S", "2023.proto": "p.S", "2024.proto": "p.S", "sub/relative.proto": "sub.R",
		"rpc.proto": "p.V",
	} {
		set, err := LoadProtos([]string{path}, []string{dir})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := set.Services(); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: Services = %q, want %q", path, got, want)
		}
		// A Merged can serve it.
		_, cc := merged(t, set)
		again, err := FromServer(cc, nil).Files(testContext(t))
		if err != nil || len(problemsOf(again)) > 0 || !slices.Contains(again.Services(), want) {
			t.Errorf("%s: %v, %q", path, err, problemsOf(again))
		}
	}
	if _, err := LoadProtos([]string{filepath.Join(dir, "sibling.proto")}, nil); err != nil {
		t.Errorf("without import paths: %v", err)
	}
	for path, want := range map[string]string{
		"broken.proto":  "broken.proto:3:10: ",
		"unknown.proto": "unknown.proto:2:13: ",
		"missing.proto": `missing.proto:2:8: import "dir/none.proto" not found in the import paths (` + dir + ")",
		"none.proto":    `"none.proto" not found in the import paths (` + dir + ")",
	} {
		_, err := LoadProtos([]string{path}, []string{dir})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(want, ".proto:") && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// Two files may give extensions of one message the same number.
func TestExtensionConflict(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	for _, name := range []string{"a", "b"} {
		b.add(&descriptorpb.FileDescriptorProto{
			Name: new(name + ".proto"), Package: new(name), Dependency: []string{"google/protobuf/descriptor.proto"},
			Extension: []*descriptorpb.FieldDescriptorProto{{
				Name: new("x"), Number: new(int32(50001)), Extendee: new(".google.protobuf.FileOptions"),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			}},
		})
	}
	set, err := b.build(testContext(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if xt, err := set.Types().FindExtensionByNumber("google.protobuf.FileOptions", 50001); err != nil || xt.TypeDescriptor().FullName() != "a.x" {
		t.Errorf("FindExtensionByNumber = %v, %v, want the first", xt, err)
	}
	for _, name := range []protoreflect.FullName{"a.x", "b.x"} {
		if _, err := set.Types().FindExtensionByName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	set := compile(t, first())
	ask, err := set.Types().FindMessageByName("one.Ask")
	if err != nil {
		t.Fatal(err)
	}
	m := ask.New().Interface()
	const text = `{"any": {"@type": "type.googleapis.com/one.Name", "first": "Ada"}, "[one.more]": "x"}`
	if err := (protojson.UnmarshalOptions{Resolver: set.Types()}).Unmarshal([]byte(text), m); err != nil {
		t.Error(err)
	}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	m = dynamicpb.NewMessage(ask.Descriptor())
	if err := (proto.UnmarshalOptions{Resolver: set.Types()}).Unmarshal(data, m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Errorf("Unmarshal = %v, unknown fields %x, want none", err, m.ProtoReflect().GetUnknown())
	}
	if _, err := set.Types().FindExtensionByName("one.more"); err != nil {
		t.Errorf("one.more: %v", err)
	}
	for name, types := range map[string]TypeResolver{"full": set.Types(), "nil": (*Set)(nil).Types()} {
		for _, url := range []string{"type.googleapis.com/google.rpc.RetryInfo", "google.protobuf.Duration"} {
			if _, err := types.FindMessageByURL(url); err != nil {
				t.Errorf("%s: %s: %v", name, url, err)
			}
		}
	}
	var numbers []protoreflect.FieldNumber
	set.ownExtensions().RangeExtensionsByMessage("one.Ask", func(xt protoreflect.ExtensionType) bool {
		numbers = append(numbers, xt.TypeDescriptor().Number())
		return true
	})
	if !slices.Equal(numbers, []protoreflect.FieldNumber{101}) {
		t.Errorf("extensions of one.Ask = %v, want 101", numbers)
	}
}
