package reflection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestFromServerSalvages(t *testing.T) {
	t.Parallel()
	good := file("good.proto")
	named := file("other/name.proto") // the answer to a request for name.proto
	needs := file("needs.proto", "gone.proto")
	needs.Service[0].Method[0].InputType = new(".gone.M")
	public := file("public.proto", "gone.proto", "good.proto")
	public.PublicDependency = []int32{1}
	byOther := file("byother.proto", "name.proto")
	byOther.Service[0].Method[0].InputType = new(".other_name.M")
	self := file("self.proto", "self.proto")
	dangling := file("dangling.proto", "good.proto")
	dangling.PublicDependency = []int32{7}
	deep := file("deep.proto")
	for m, i := deep.GetMessageType()[0], 0; i < 100; i++ {
		m.NestedType = []*descriptorpb.DescriptorProto{{Name: new("N")}}
		m = m.GetNestedType()[0]
	}
	for name, tc := range map[string]struct {
		files   []*descriptorpb.FileDescriptorProto
		usable  []string // services
		problem []string // a part of each
	}{
		"nothing wrong":      {[]*descriptorpb.FileDescriptorProto{good}, []string{"good.S"}, nil},
		"a missing import":   {[]*descriptorpb.FileDescriptorProto{good, file("needless.proto", "gone.proto")}, []string{"good.S", "needless.S"}, []string{`file "gone.proto": NotFound: no such thing`, `"needless.proto" imports "gone.proto"`}},
		"one that is needed": {[]*descriptorpb.FileDescriptorProto{good, needs}, []string{"good.S", "needs.S"}, []string{`file "gone.proto"`, `"needs.proto" imports "gone.proto"`}},
		"among others":       {[]*descriptorpb.FileDescriptorProto{good, public}, []string{"good.S", "public.S"}, []string{`file "gone.proto"`, `"public.proto" imports`}},
		"another name":       {[]*descriptorpb.FileDescriptorProto{byOther, named}, []string{"byother.S", "other_name.S"}, nil},
		"a cycle":            {[]*descriptorpb.FileDescriptorProto{file("a.proto", "b.proto"), file("b.proto", "a.proto")}, []string{"a.S", "b.S"}, []string{"import each other"}},
		"itself":             {[]*descriptorpb.FileDescriptorProto{self}, []string{"self.S"}, []string{"import each other"}},
		"broken":             {[]*descriptorpb.FileDescriptorProto{good, dangling}, []string{"good.S"}, []string{`"dangling.proto" is left out: `}},
		"nested":             {[]*descriptorpb.FileDescriptorProto{good, deep}, []string{"good.S"}, []string{"nested deeper than 64"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var services []string
			for _, fdp := range tc.files {
				services = append(services, fdp.GetPackage()+".S")
			}
			l := &scriptedServer{answer: answerFrom(t, services, tc.files...)}
			if name == "another name" {
				byPath := l.answer
				l.answer = func(r *request) *response {
					if r.GetFileByFilename() == "name.proto" {
						return filesOf(encode(t, named))
					}
					return byPath(r)
				}
			}
			set, err := FromServer(l.serve(t), nil).Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if slices.Sort(services); !slices.Equal(set.Services(), services) {
				t.Errorf("Services = %q, want %q", set.Services(), services)
			}
			checkSet(t, set, tc.usable, tc.problem)
			// A Merged serves the usable services.
			_, cc := merged(t, set)
			again, err := FromServer(cc, nil).Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tc.usable {
				checkFound(t, again, name)
			}
		})
	}
}

func checkFound(t *testing.T, set *Set, name string) {
	t.Helper()
	if _, err := set.Files().FindDescriptorByName(protoreflect.FullName(name)); err != nil {
		t.Errorf("no descriptor of %s; problems: %q", name, problemsOf(set))
	}
}

func checkSet(t *testing.T, set *Set, usable, problems []string) {
	t.Helper()
	for _, name := range usable {
		checkFound(t, set, name)
	}
	if got := problemsOf(set); len(got) != len(problems) {
		t.Errorf("Problems = %q, want %q", got, problems)
	}
	for i, want := range problems {
		if i < len(problemsOf(set)) && !strings.Contains(problemsOf(set)[i], want) {
			t.Errorf("problem %q, want %q in it", problemsOf(set)[i], want)
		}
	}
}

func TestFromServerOddAnswers(t *testing.T) {
	t.Parallel()
	good := encode(t, file("good.proto"))
	for name, tc := range map[string]struct {
		answer  func(n int, r *request) *response // to everything but list
		problem string
	}{
		"garbage":            {func(int, *request) *response { return filesOf([]byte("garbage")) }, "not a valid FileDescriptorProto"},
		"nothing":            {func(int, *request) *response { return filesOf() }, ""},
		"no answer":          {func(int, *request) *response { return new(response) }, "unexpected response"},
		"a list":             {func(int, *request) *response { return listOf("good.S") }, "unexpected response"},
		"no name":            {func(int, *request) *response { return filesOf([]byte{}) }, "without a name"},
		"too large":          {func(int, *request) *response { return filesOf(make([]byte, maxFileBytes+1)) }, "left out"},
		"end of stream":      {func(int, *request) *response { return nil }, "Internal: no more"},
		"OK as an error":     {func(int, *request) *response { return errorOf(codes.OK, "") }, "Unknown"},
		"one and no more":    {func(n int, _ *request) *response { return map[bool]*response{n%2 == 1: filesOf(good)}[true] }, ""},
		"endless text":       {func(int, *request) *response { return errorOf(codes.NotFound, strings.Repeat("ä", 1<<16)) }, "NotFound: "},
		"endless imports":    {endlessImports, "there are 20000 files"},
		"endless extensions": {endlessExtensions, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			l := &scriptedServer{answer: func(r *request) *response {
				if r.GetListServices() != "" {
					return listOf("good.S", "none.S", "not a name", "")
				}
				n++
				return tc.answer(n, r)
			}}
			set, err := FromServer(l.serve(t), nil).Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"good.S", "none.S"}; !slices.Equal(set.Services(), want) {
				t.Errorf("Services = %q, want %q", set.Services(), want)
			}
			problems := strings.Join(problemsOf(set), "\n")
			if !strings.Contains(problems, tc.problem) || len(problems) > 50_000 {
				t.Errorf("Problems = %.1000q, want %q", problems, tc.problem)
			}
			merged(t, set)
		})
	}
}

// endlessImports answers every request with a file that imports ten others.
func endlessImports(n int, _ *request) *response {
	fdp := &descriptorpb.FileDescriptorProto{Name: new(fmt.Sprintf("%d.proto", n))}
	for i := range 10 {
		fdp.Dependency = append(fdp.Dependency, fmt.Sprintf("%d.proto", 10*n+i))
	}
	data, _ := proto.Marshal(fdp)
	return filesOf(data)
}

// endlessExtensions answers requests for extensions with files of new extendable
// messages.
func endlessExtensions(n int, r *request) *response {
	if r.GetAllExtensionNumbersOfType() != "" {
		a := new(grpc_reflection_v1.ExtensionNumberResponse)
		for i := range int32(1000) {
			a.ExtensionNumber = append(a.ExtensionNumber, i)
		}
		return &response{
			MessageResponse: &grpc_reflection_v1.ServerReflectionResponse_AllExtensionNumbersResponse{AllExtensionNumbersResponse: a},
		}
	}
	data, _ := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: new(fmt.Sprintf("%d.proto", n)),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:           new(fmt.Sprintf("M%d", n)),
			ExtensionRange: []*descriptorpb.DescriptorProto_ExtensionRange{{Start: new(int32(1)), End: new(int32(10_000))}},
		}},
	})
	return filesOf(data)
}

// TestFromServerDiamonds has pairs of files that import both files of the previous pair,
// so there are 2^40 import paths from the last to the first.
func TestFromServerDiamonds(t *testing.T) {
	t.Parallel()
	for _, public := range []bool{false, true} {
		t.Run(fmt.Sprintf("public=%t", public), func(t *testing.T) {
			t.Parallel()
			const layers = 40
			var files []*descriptorpb.FileDescriptorProto
			for i := range layers {
				for _, side := range []string{"a", "b"} {
					fdp := file(fmt.Sprintf("%s%d.proto", side, i))
					if i > 0 {
						fdp.Dependency = []string{fmt.Sprintf("a%d.proto", i-1), fmt.Sprintf("b%d.proto", i-1)}
					}
					if i > 0 && public {
						fdp.PublicDependency = []int32{0, 1}
					}
					files = append(files, fdp)
				}
			}
			top := fmt.Sprintf("a%d.S", layers-1)
			l := &scriptedServer{answer: answerFrom(t, []string{top}, files...)}
			set, err := FromServer(l.serve(t), nil).Files(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if !public {
				checkSet(t, set, []string{top}, nil)
			} else if !slices.ContainsFunc(problemsOf(set), func(p string) bool { return strings.Contains(p, "public imports of public imports") }) {
				t.Errorf("Problems = %q", problemsOf(set))
			}
			_, cc := merged(t, set)
			if _, err := FromServer(cc, nil).Files(testContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFromServerErrors(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, tc := range map[string]struct {
		server *scriptedServer
		want   func(error) bool
	}{
		"hanging": {&scriptedServer{begin: hang}, func(err error) bool {
			return status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled)
		}},
		"refusing": {&scriptedServer{begin: func(context.Context) error {
			return status.Error(codes.PermissionDenied, "not you")
		}}, func(err error) bool { return status.Code(err) == codes.PermissionDenied }},
		"refusing to list": {
			&scriptedServer{answer: func(*request) *response { return errorOf(codes.Unavailable, "") }},
			func(err error) bool { return status.Code(err) == codes.Unavailable },
		},
		"listing something else": {
			&scriptedServer{answer: func(*request) *response { return filesOf() }},
			func(err error) bool { return status.Code(err) == codes.Internal },
		},
		"unimplemented inside": {
			&scriptedServer{answer: func(*request) *response { return errorOf(codes.Unimplemented, "") }},
			func(err error) bool { return errors.Is(err, ErrNoReflection) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			if begin := tc.server.begin; name == "hanging" {
				tc.server.begin = func(ctx context.Context) error {
					cancel() // the client waits for an answer now
					return begin(ctx)
				}
			}
			if _, err := FromServer(tc.server.serve(t), nil).Files(ctx); !tc.want(err) {
				t.Errorf("Files = %v", err)
			}
		})
	}
}

func TestFromServerSendsItsHeader(t *testing.T) {
	t.Parallel()
	got := make(chan metadata.MD, 1)
	answer := answerFrom(t, nil)
	l := &scriptedServer{answer: answer, begin: func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- md
		return nil
	}}
	ctx := metadata.AppendToOutgoingContext(testContext(t), "outer", "o")
	if _, err := FromServer(l.serve(t), metadata.Pairs("token", "t")).Files(ctx); err != nil {
		t.Fatal(err)
	}
	md := <-got
	if !slices.Equal(md.Get("token"), []string{"t"}) || !slices.Equal(md.Get("outer"), []string{"o"}) {
		t.Errorf("token = %q, outer = %q", md.Get("token"), md.Get("outer"))
	}
}
