package reflection

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// first and second are the files of two upstreams. Their common.proto differ.
func first() map[string]string {
	return map[string]string{
		"common.proto": `syntax = "proto3"; package one; message Name { string first = 1; }`,
		"same.proto":   `syntax = "proto3"; package same; message Same { int32 n = 1; }`,
		"one.proto": `syntax = "proto2"; package one; import "common.proto"; import "same.proto";
			import "google/protobuf/any.proto";
			message Ask { optional Name name = 1; optional same.Same same = 2; optional google.protobuf.Any any = 3;
				extensions 100 to 200; }
			extend Ask { optional string more = 101; }
			service One { rpc Do(Ask) returns (Ask); }`,
	}
}

func second() map[string]string {
	return map[string]string{
		"common.proto": `syntax = "proto3"; package two; message Name { int32 number = 1; }`,
		"same.proto":   `syntax = "proto3"; package same; message Same { int32 n = 1; } // differs only in this comment`,
		"mid.proto":    `syntax = "proto3"; package two; import public "common.proto";`,
		"two.proto": `syntax = "proto2"; package two; import "mid.proto"; import "same.proto";
			message Ask { optional Name name = 1; optional same.Same same = 2; extensions 100 to 200; }
			message Scope { extend Ask { optional int32 more = 102; } }
			service Two { rpc Do(Ask) returns (Ask); }`,
	}
}

// newEchoServer returns an echo server for the methods of sets, with the reflection of m.
func newEchoServer(tb testing.TB, m *Merged, sets ...*Set) *grpc.Server {
	tb.Helper()
	s := grpc.NewServer()
	for i, set := range sets {
		m.Set(i, set)
		for _, name := range set.Services() {
			d, err := set.Files().FindDescriptorByName(protoreflect.FullName(name))
			if err != nil {
				tb.Fatal(err)
			}
			registerEcho(s, d.(protoreflect.ServiceDescriptor))
		}
	}
	m.Register(s)
	return s
}

// calls are requests that need the right descriptors.
var calls = []struct{ method, request, field string }{
	{"one.One/Do", `{"name": {"first": "Ada"}, "same": {"n": 1}, "[one.more]": "x"}`, `"first": "Ada"`},
	{"two.Two/Do", `{"name": {"number": 7}, "same": {"n": 2}, "[two.Scope.more]": 3}`, `"number": 7`},
	{
		"one.One/Do", `{"any": {"@type": "type.googleapis.com/two.Ask", "name": {"number": 8}}}`, `"number": 8`,
	},
	{
		"one.One/Do", `{"any": {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}}`, `"3s"`,
	},
}

func TestMergedWithGrpcurl(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(context.Context, *grpc.ClientConn) *grpcreflect.Client{
		"v1": func(ctx context.Context, cc *grpc.ClientConn) *grpcreflect.Client {
			return grpcreflect.NewClientAuto(ctx, cc)
		},
		"v1alpha": func(ctx context.Context, cc *grpc.ClientConn) *grpcreflect.Client {
			return grpcreflect.NewClientV1Alpha(ctx, grpc_reflection_v1alpha.NewServerReflectionClient(cc))
		},
	} {
		// Not parallel: grpcurl.GetDescriptorText isn't safe for concurrent use.
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			m := NewMerged(2, nil)
			cc := serve(t, newEchoServer(t, m, compile(t, first()), compile(t, second())))
			rc := client(ctx, cc)
			defer rc.Reset()
			source := grpcurl.DescriptorSourceFromServer(ctx, rc)
			services, err := grpcurl.ListServices(source)
			want := []string{
				"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "one.One", "two.Two",
			}
			if err != nil || !slices.Equal(services, want) {
				t.Errorf("ListServices = %q, %v, want %q", services, err, want)
			}
			for symbol, want := range map[string]string{
				"one.Name": "first", "two.Name": "number", "one.One.Do": "", "two.Ask": "extensions 100", "same.Same": "n", "one.more": "101",
			} {
				d, err := source.FindSymbol(symbol)
				if err != nil {
					t.Errorf("FindSymbol(%q): %v", symbol, err)
					continue
				}
				text, err := grpcurl.GetDescriptorText(d, source)
				if err != nil || !strings.Contains(text, want) {
					t.Errorf("describe %s = %q, %v, want %q in it", symbol, text, err, want)
				}
			}
			for message, number := range map[string]int32{"one.Ask": 101, "two.Ask": 102} {
				fields, err := source.AllExtensionsForType(message)
				if err != nil || len(fields) != 1 || fields[0].GetNumber() != number {
					t.Errorf("AllExtensionsForType(%q) = %v, %v, want one, %d", message, fields, err, number)
				}
			}
			for path, message := range map[string]string{
				"common.proto": "one.Name", "upstream-2/common.proto": "two.Name", "google/protobuf/any.proto": "google.protobuf.Any",
				"google/protobuf/struct.proto": "google.protobuf.Struct", "google/rpc/error_details.proto": "google.rpc.RetryInfo",
				"google/rpc/status.proto": "google.rpc.Status", "google/protobuf/descriptor.proto": "google.protobuf.FieldOptions",
			} {
				fd, err := rc.FileByFilename(path)
				if err != nil || fd.FindMessage(message) == nil {
					t.Errorf("FileByFilename(%q): %v, want %s in it", path, err, message)
				}
			}
			for _, c := range calls {
				checkCall(ctx, t, source, cc, c.method, c.request, c.field)
			}
		})
	}
}

func checkCall(
	ctx context.Context, t *testing.T, source grpcurl.DescriptorSource, cc *grpc.ClientConn, method, request, want string,
) {
	t.Helper()
	parser, formatter, err := grpcurl.RequestParserAndFormatter(grpcurl.FormatJSON, source, strings.NewReader(request), grpcurl.FormatOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	handler := &grpcurl.DefaultEventHandler{Out: &out, Formatter: formatter}
	if err := grpcurl.InvokeRPC(ctx, source, cc, method, nil, handler, parser.Next); err != nil {
		t.Errorf("%s %s: %v", method, request, err)
	} else if !strings.Contains(out.String(), want) {
		t.Errorf("%s %s = %s %v, want %s in it", method, request, out.String(), handler.Status, want)
	}
}

func TestMergedWithTheGrpcurlCommand(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := newEchoServer(t, NewMerged(2, nil), compile(t, first()), compile(t, second()))
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(ln) })
	defer wg.Wait()
	defer s.Stop()
	path, err := exec.CommandContext(ctx, "go", "tool", "-n", "grpcurl").Output()
	if err != nil {
		t.Skipf("go tool grpcurl: %v", err)
	}
	run := func(want string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, strings.TrimSpace(string(path)), append([]string{"-plaintext"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("grpcurl %q = %s, %v, want %q in it", args, out, err, want)
		}
	}
	addr := ln.Addr().String()
	run("one.One\ntwo.Two", addr, "list")
	run("number", addr, "describe", "two.Name")
	run("first", addr, "describe", "one.Name")
	for _, c := range calls {
		run(c.field, "-d", c.request, addr, c.method)
	}
}

func TestMergedServesLocalServices(t *testing.T) {
	t.Parallel()
	m := NewMerged(1, nil)
	s := grpc.NewServer()
	m.Register(s)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer()) // after m.Register
	set, err := FromServer(serve(t, s), nil).Files(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
	}
	if got := set.Services(); !slices.Equal(got, want) || len(problemsOf(set)) > 0 {
		t.Errorf("Services = %q, Problems = %q, want %q, none", got, problemsOf(set), want)
	}
	if got := m.services(); len(got) > 0 {
		t.Errorf("services = %q, want none", got)
	}
}

func TestMergedFirstSymbolWins(t *testing.T) {
	t.Parallel()
	log := new(logRecorder)
	m := NewMerged(3, log.logger())
	a := compile(t, map[string]string{
		"a.proto": `syntax = "proto3"; package p; message M { int32 a = 1; } service S { rpc Do(M) returns (M); }`,
	})
	b := compile(t, map[string]string{
		"b.proto": `syntax = "proto3"; package p; message M { int32 b = 1; } service S { rpc Do(M) returns (M); }
			service Other { rpc Do(M) returns (M); }`,
	})
	for range 3 {
		m.Set(1, b)
		m.Set(0, a)
		m.Set(2, a) // the same as upstream 0: no warning
	}
	if got := log.all(); len(got) != 1 || !strings.Contains(got[0], "count=2 symbols=\"p.S p.M\"") {
		t.Errorf("logged %q, want one warning of p.S and p.M", got)
	}
	if got, want := m.services(), []string{"p.Other", "p.S"}; !slices.Equal(got, want) {
		t.Errorf("Services = %q, want %q", got, want)
	}
	if got, want := m.ServicesOf(1), []string{"p.Other", "p.S"}; !slices.Equal(got, want) {
		t.Errorf("ServicesOf(1) = %q, want %q", got, want)
	}
	now := m.state.Load()
	if got := now.pathOfSymbol("p.M"); got != "a.proto" {
		t.Errorf("p.M is in %q, want a.proto", got)
	}
	if got := now.pathOfSymbol("p.Other"); got != "b.proto" {
		t.Errorf("p.Other is in %q, want b.proto", got)
	}
	m.Set(0, nil)
	m.Set(2, nil)
	if got := m.state.Load().pathOfSymbol("p.M"); got != "b.proto" {
		t.Errorf("without the first, p.M is in %q, want b.proto", got)
	}
}

func TestMergedSharesFiles(t *testing.T) {
	t.Parallel()
	m := NewMerged(4, nil)
	for i, sources := range []map[string]string{first(), second(), second(), first()} {
		m.Set(i, compile(t, sources))
	}
	now := m.state.Load()
	var got []string
	for path := range now.files {
		got = append(got, path)
	}
	slices.Sort(got)
	want := []string{"common.proto", "mid.proto", "one.proto", "same.proto", "two.proto", "upstream-2/common.proto"}
	if !slices.Equal(got, want) {
		t.Errorf("files = %q, want %q", got, want)
	}
	if got := importsOf(t, now.files["mid.proto"]); !slices.Equal(got, []string{"upstream-2/common.proto"}) {
		t.Errorf("mid.proto imports %q", got)
	}
}

// importsOf returns the imports of a file as a Merged serves it.
func importsOf(t *testing.T, f servedFile) []string {
	t.Helper()
	fdp := new(descriptorpb.FileDescriptorProto)
	if err := proto.Unmarshal(f.encoding(), fdp); err != nil {
		t.Fatal(err)
	}
	if fdp.GetName() != f.path {
		t.Errorf("%q is encoded as %q", f.path, fdp.GetName())
	}
	return fdp.GetDependency()
}

// servedImports returns the served paths of the imports of a file.
func servedImports(f servedFile) []string {
	var paths []string
	for _, path := range f.imports[:f.required] {
		paths = append(paths, f.served(path))
	}
	return paths
}

func TestMergedRenamesImporters(t *testing.T) {
	t.Parallel()
	with := func(field string) map[string]string {
		return map[string]string{
			"common.proto": `syntax = "proto3"; package p; message Name { ` + field + ` = 1; }`,
			// The same text for both, but its import differs.
			"mid.proto":               `syntax = "proto3"; package p; import "common.proto"; message Mid { Name name = 1; }`,
			"upstream-2/common.proto": `syntax = "proto3"; package taken;`,
		}
	}
	m := NewMerged(2, nil)
	m.Set(0, compile(t, with("string s")))
	m.Set(1, compile(t, with("int32 i")))
	now := m.state.Load()
	mid := now.files["upstream-2/mid.proto"]
	if mid.encodedFile == nil {
		t.Fatalf("no upstream-2/mid.proto: %v", now.paths)
	}
	want := "upstream-2/upstream-2/common.proto"
	if got := importsOf(t, mid); !slices.Equal(got, []string{want}) || now.files[want].encodedFile == nil {
		t.Errorf("upstream-2/mid.proto imports %q, want %q", got, want)
	}
}

func TestMergedSetWhileQueried(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	one, two := compile(t, first()), compile(t, second())
	m, cc := merged(t, one, two)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if _, err := FromServer(cc, nil).Files(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		switch i % 4 {
		case 0:
			m.Set(0, two)
		case 1:
			m.Set(1, one)
		case 2:
			m.Set(1, nil)
		default:
			m.Set(0, one)
			m.Set(1, two)
		}
		_ = m.services()
	}
	wg.Wait()
	set, err := FromServer(cc, nil).Files(ctx)
	if err != nil || len(problemsOf(set)) > 0 || !slices.Contains(set.Services(), "one.One") {
		t.Errorf("afterwards: %v, problems %q, services %q", err, problemsOf(set), set.Services())
	}
}

// TestMergedBoundsDuplicates: the search for symbols that several upstreams define ends
// after a number of lookups.
func TestMergedBoundsDuplicates(t *testing.T) {
	t.Parallel()
	for _, enums := range []int{0, maxDuplicates} {
		var log logRecorder
		m := NewMerged(2, log.logger())
		other := first()
		other["one.proto"] += " message More {}"
		sets := []*Set{compile(t, first()), compile(t, other)}
		sets[0].maxEnums = enums
		for i, set := range sets {
			m.Set(i, set)
		}
		if got := len(log.all()); (got == 0) != (enums > 0) {
			t.Errorf("%d warnings with %d enums in a message", got, enums)
		}
	}
}
