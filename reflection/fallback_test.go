package reflection

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestFallback has an upstream with one service, and files that define the same service
// (partly with other contents and paths) and another one.
func TestFallback(t *testing.T) {
	t.Parallel()
	own := compile(t, map[string]string{
		"common.proto": `syntax = "proto3"; package p; message Name { string mine = 1; } enum Kind { NONE = 0; }`,
		"shared.proto": `syntax = "proto3"; package p; message Shared {}`,
		"api/s.proto": `syntax = "proto3"; package p; import "common.proto"; import "shared.proto";
			message Ask { Name name = 1; Shared shared = 2; } service S { rpc Do(Ask) returns (Ask); }`,
	})
	files := compile(t, map[string]string{
		"common.proto": `syntax = "proto3"; package p; message Name { string theirs = 1; int32 n = 2; }`,
		"shared.proto": `syntax = "proto3"; package p; message Shared {} // with a comment`,
		"s.proto": `syntax = "proto3"; package p; import "common.proto";
			message Ask { Name name = 1; } service S { rpc Do(Ask) returns (Ask); }`,
		"more.proto": `syntax = "proto3"; package p; import "common.proto"; import "shared.proto"; import "s.proto";
			message More { Name name = 1; Shared shared = 2; Ask ask = 3; } service T { rpc Do(More) returns (More); }`,
	})
	log := new(logRecorder)
	m := NewMerged(1, log.logger())
	cc := serve(t, newEchoServer(t, m, own))
	for range 2 {
		m.SetFallback(files)
		set, err := FromServer(cc, nil).Files(testContext(t))
		if err != nil || len(problemsOf(set)) > 0 {
			t.Fatalf("Files: %v, problems %q, want none", err, problemsOf(set))
		}
		if got, want := m.services(), []string{"p.S", "p.T"}; !slices.Equal(got, want) {
			t.Errorf("Services = %q, want %q", got, want)
		}
		for name, path := range map[protoreflect.FullName]string{
			"p.Name.mine": "common.proto", "p.S": "api/s.proto", "p.Shared": "shared.proto", "p.T": "more.proto",
		} {
			if d, err := set.Files().FindDescriptorByName(name); err != nil || d.ParentFile().Path() != path {
				t.Errorf("%s: %v, want it in %s", name, err, path)
			}
		}
		if _, err := set.Files().FindFileByPath("s.proto"); err == nil {
			t.Error("s.proto: served beside the upstream's file with the same symbols")
		}
		// A refresh of the upstream changes nothing.
		m.Set(0, own)
	}
	if got := log.all(); len(got) > 0 {
		t.Errorf("warnings: %q, want none", got)
	}

	// Without the upstream, only the fallback files are left.
	m.Set(0, nil)
	set, err := FromServer(cc, nil).Files(testContext(t))
	if err != nil || len(problemsOf(set)) > 0 {
		t.Fatalf("Files: %v, problems %q, want none", err, problemsOf(set))
	}
	if _, err := set.Files().FindDescriptorByName("p.Name.theirs"); err != nil {
		t.Errorf("p.Name.theirs: %v", err)
	}
	m.SetFallback(nil)
	if got := m.services(); len(got) > 0 {
		t.Errorf("Services = %q, want none", got)
	}
}

// TestFallbackClash has a fallback file that defines one symbol of the upstream and new
// ones: each file keeps its own definitions, and lookups prefer the upstream's.
func TestFallbackClash(t *testing.T) {
	t.Parallel()
	own := compile(t, map[string]string{
		"a.proto": `syntax = "proto3"; package p; message A { string mine = 1; } service S { rpc Do(A) returns (A); }`,
	})
	files := compile(t, map[string]string{
		"a.proto": `syntax = "proto3"; package p; message A { int32 theirs = 1; } message B { A a = 1; } service T { rpc Do(B) returns (B); }`,
	})
	log := new(logRecorder)
	m := NewMerged(1, log.logger())
	m.SetFallback(files)
	cc := serve(t, newEchoServer(t, m, own))
	server := FromServer(cc, nil)
	for name, field := range map[protoreflect.FullName]protoreflect.FullName{"p.S": "p.A.mine", "p.T": "p.A.theirs", "p.A": "p.A.mine"} {
		set, err := server.Find(testContext(t), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := set.Files().FindDescriptorByName(field); err != nil {
			t.Errorf("%s: without %s", name, field)
		}
	}
	if got := log.all(); len(got) != 1 || !strings.Contains(got[0], `the upstream wins" upstream=1 file=a.proto count=1 symbols=p.A`) {
		t.Errorf("warnings: %q", got)
	}
}

// TestFallbackCompletes has an upstream that can't describe all of its services and
// imports.
func TestFallbackCompletes(t *testing.T) {
	t.Parallel()
	files := compile(t, map[string]string{
		"dep.proto": `syntax = "proto3"; package p; message Dep { string s = 1; }`,
		"s.proto":   `syntax = "proto3"; package p; import "dep.proto"; service S { rpc Do(Dep) returns (Dep); }`,
		"t.proto":   `syntax = "proto3"; package p; import "dep.proto"; service T { rpc Do(Dep) returns (Dep); }`,
	})
	b := newBuilder()
	for _, fdp := range protosOf(files) {
		if fdp.GetName() == "s.proto" {
			b.add(fdp)
		}
	}
	own, err := b.build(testContext(t), []string{"p.S", "p.T"})
	if err != nil {
		t.Fatal(err)
	}
	m, cc := merged(t, own)
	m.SetFallback(files)
	set, err := FromServer(cc, nil).Files(testContext(t))
	if err != nil || len(problemsOf(set)) > 0 {
		t.Fatalf("Files: %v, problems %q, want none", err, problemsOf(set))
	}
	for _, name := range []protoreflect.FullName{"p.S", "p.T", "p.Dep.s"} {
		if _, err := set.Files().FindDescriptorByName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
