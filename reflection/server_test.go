package reflection

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func greeter() map[string]string {
	return map[string]string{
		"common.proto": `syntax = "proto3"; package common; message Name { string first_name = 1; }`,
		"greet/greet.proto": `syntax = "proto3"; package greet;
			import "common.proto"; import "google/protobuf/timestamp.proto";
			message Hello { common.Name name = 1; google.protobuf.Timestamp at = 2; }
			service Greeter { rpc Greet(Hello) returns (Hello); }`,
	}
}

func TestFromServerVersions(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]version{"v1": v1, "v1alpha": v1alpha, "both": v1 | v1alpha} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, compile(t, greeter()), versions)
			server := FromServer(serve(t, s), nil)
			set, err := server.Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if version, services, err := server.List(testContext(t)); err != nil || (version == "v1") != (versions&v1 != 0) || !slices.Equal(services, set.Services()) {
				t.Errorf("List = %q, %q, %v, want those of Files by %s", version, services, err, name)
			}
			if got := set.Services(); !slices.Contains(got, "greet.Greeter") {
				t.Errorf("Services = %q, want greet.Greeter among them", got)
			}
			for _, symbol := range []protoreflect.FullName{"greet.Greeter.Greet", "common.Name", "google.protobuf.Timestamp"} {
				if _, err := set.Files().FindDescriptorByName(symbol); err != nil {
					t.Errorf("%s: %v", symbol, err)
				}
			}
			s.GracefulStop() // waits for all streams
		})
	}
}

func TestFromServerWithoutReflection(t *testing.T) {
	t.Parallel()
	cc := serve(t, grpc.NewServer())
	if _, err := FromServer(cc, metadata.Pairs("a", "b")).Files(testContext(t)); !errors.Is(err, ErrNoReflection) {
		t.Errorf("Files = %v, want ErrNoReflection", err)
	}
}

func TestMergedServesBoth(t *testing.T) {
	t.Parallel()
	_, cc := merged(t, compile(t, greeter()), compile(t, map[string]string{
		"common.proto": `syntax = "proto3"; package other; message Name { int32 id = 1; }`,
		"other.proto":  `syntax = "proto3"; package other; import "common.proto"; service Other { rpc Do(Name) returns (Name); }`,
	}))
	set, err := FromServer(cc, nil).Files(testContext(t))
	if err != nil || len(problemsOf(set)) > 0 {
		t.Fatal(err, problemsOf(set))
	}
	for _, path := range []string{"common.proto", "upstream-2/common.proto", "other.proto", "greet/greet.proto"} {
		if _, err := set.Files().FindFileByPath(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFromServerFindsExtensionsWithoutImporters(t *testing.T) {
	t.Parallel()
	s := echoServer(t, compile(t, map[string]string{
		"base.proto": `syntax = "proto2"; package base; message M { extensions 10 to 99; message In { extensions 5; } }
			service S { rpc Do(M) returns (M); }`,
		"ext.proto": `syntax = "proto2"; package ext; import "base.proto"; extend base.M { optional string a = 11; }
			message Scope { extend base.M.In { optional Scope b = 5; } }`,
	}), v1)
	set, err := FromServer(serve(t, s), nil).Files(testContext(t))
	if err != nil || len(problemsOf(set)) > 0 {
		t.Fatal(err, problemsOf(set))
	}
	for _, name := range []protoreflect.FullName{"ext.a", "ext.Scope.b"} {
		if _, err := set.Types().FindExtensionByName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, _ := merged(t, nil, set)
	if got := m.state.Load().extensionNumbers("base.M"); !slices.Equal(got, []int32{11}) {
		t.Errorf("extensions of base.M = %v, want 11", got)
	}
}

// TestMergedWellKnownTypes has one server with an older copy of a well-known file than
// the linked one, and one server with a newer copy.
func TestMergedWellKnownTypes(t *testing.T) {
	t.Parallel()
	old := `syntax = "proto3"; package google.protobuf; message Any { string type_url = 1; bytes value = 2; }`
	user := `syntax = "proto3"; package user; import "google/protobuf/any.proto"; message M { google.protobuf.Any any = 1; }`
	m := NewMerged(2, nil)
	m.Set(0, compile(t, map[string]string{"google/protobuf/any.proto": old, "user.proto": user}))
	m.Set(1, compile(t, map[string]string{"google/protobuf/any.proto": old + ` message Newer {}`, "user.proto": user}))
	now := m.state.Load()
	for symbol, want := range map[protoreflect.FullName]string{
		"google.protobuf.Any": "google/protobuf/any.proto", "user.M": "user.proto",
		"google.protobuf.Newer": "upstream-2/google/protobuf/any.proto",
	} {
		if got := now.pathOfSymbol(symbol); got != want {
			t.Errorf("%s is in %q, want %q", symbol, got, want)
		}
	}
	if got := importsOf(t, now.files["user.proto"]); !slices.Equal(got, []string{"google/protobuf/any.proto"}) {
		t.Errorf("user.proto imports %q", got)
	}
	if got := importsOf(t, now.files["upstream-2/user.proto"]); !slices.Equal(got, []string{"upstream-2/google/protobuf/any.proto"}) {
		t.Errorf("the other user.proto imports %q", got)
	}
}
