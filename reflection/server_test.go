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
			set, err := FromServer(serve(t, s), nil).Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := set.Services(); !slices.Contains(got, "greet.Greeter") {
				t.Errorf("Services = %q, want greet.Greeter among them", got)
			}
			for _, symbol := range []protoreflect.FullName{"greet.Greeter.Greet", "common.Name", "google.protobuf.Timestamp"} {
				if _, err := set.Files().FindDescriptorByName(symbol); err != nil {
					t.Errorf("%s: %v", symbol, err)
				}
			}
			s.GracefulStop() // returns only when no stream is left
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
	if err != nil || len(set.Problems()) > 0 {
		t.Fatal(err, set.Problems())
	}
	for _, path := range []string{"common.proto", "upstream-2/common.proto", "other.proto", "greet/greet.proto"} {
		if _, err := set.Files().FindFileByPath(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
