package reflection

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// failingFinder is a Finder whose methods all fail.
type failingFinder struct{ err error }

func (f failingFinder) Files(context.Context) (*Set, error) { return nil, f.err }

func (f failingFinder) Services(context.Context) ([]string, error) { return nil, f.err }

func (f failingFinder) Find(context.Context, protoreflect.FullName) (*Set, error) { return nil, f.err }

// countingFinder counts the calls to a Finder.
type countingFinder struct {
	Finder
	finds, files int
}

func (c *countingFinder) Files(ctx context.Context) (*Set, error) {
	c.files++
	return c.Finder.Files(ctx)
}

func (c *countingFinder) Find(ctx context.Context, name protoreflect.FullName) (*Set, error) {
	c.finds++
	return c.Finder.Find(ctx, name)
}

func TestServerFind(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]version{"v1": v1, "v1alpha": v1alpha} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, compile(t, greeter()), versions)
			server := FromServer(serve(t, s), nil)
			for _, symbol := range []protoreflect.FullName{"greet.Greeter", "greet.Greeter.Greet", "common.Name"} {
				set, err := server.Find(testContext(t), symbol)
				if err != nil {
					t.Errorf("Find(%s) = %v", symbol, err)
				} else if _, err := set.Files().FindDescriptorByName(symbol); err != nil {
					t.Errorf("Find(%s): the Set lacks it", symbol)
				}
			}
			if _, err := server.Find(testContext(t), "greet.Nonsense"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Find(greet.Nonsense) = %v, want ErrNotFound", err)
			}
			services, err := server.Services(testContext(t))
			if err != nil || !slices.Contains(services, "greet.Greeter") {
				t.Errorf("Services = %q, %v", services, err)
			}
			s.GracefulStop() // waits for all streams
		})
	}
	none := FromServer(serve(t, grpc.NewServer()), nil)
	if _, err := none.Find(testContext(t), "a.B"); !errors.Is(err, ErrNoReflection) {
		t.Errorf("Find = %v, want ErrNoReflection", err)
	}
}

// Two sources may have different files with the same path. Each symbol uses the files of
// its own source.
func TestCatalogNamespaces(t *testing.T) {
	t.Parallel()
	first := compile(t, map[string]string{
		"common.proto": `syntax = "proto3"; package common; message Name { string name = 1; }`,
		"a.proto":      `syntax = "proto3"; package a; import "common.proto"; service A { rpc Do(common.Name) returns (common.Name); }`,
	})
	second := compile(t, map[string]string{
		"common.proto": `syntax = "proto3"; package common; message Name { int64 id = 7; } message More {}`,
		"b.proto":      `syntax = "proto3"; package b; import "common.proto"; service B { rpc Do(common.Name) returns (common.Name); }`,
	})
	c := NewCatalog(FromServer(serve(t, echoServer(t, first, v1)), nil), FromSet(second))
	ctx := testContext(t)
	services, err := c.Services(ctx)
	if want := []string{"a.A", "b.B"}; err != nil || !slices.Equal(slices.DeleteFunc(services, func(s string) bool { return strings.HasPrefix(s, "grpc.") }), want) {
		t.Errorf("Services = %q, %v, want %q", services, err, want)
	}
	for name, field := range map[string]protoreflect.Name{"a.A/Do": "name", "b.B/Do": "id"} {
		s, err := c.Resolve(ctx, Method, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Descriptor.(protoreflect.MethodDescriptor).Input().Fields().Get(0).Name(); got != field {
			t.Errorf("%s has %s, want %s", name, got, field)
		}
		if mt, err := s.Types(ctx).FindMessageByURL("x.org/common.Name"); err != nil || mt.Descriptor().Fields().Get(0).Name() != field {
			t.Errorf("types of %s: %v, %v", name, mt, err)
		}
		if _, err := s.Types(ctx).FindMessageByName("common.More"); err != nil {
			t.Errorf("types of %s: %v; want those of the other source, too", name, err)
		}
	}
}

// A Catalog skips a source that fails if another one has the symbol.
func TestCatalogFallsBack(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	down := failingFinder{status.Error(codes.Unavailable, "it's down")}
	c := NewCatalog(down, FromSet(compile(t, greeter())))
	if services, err := c.Services(ctx); err != nil || !slices.Contains(services, "greet.Greeter") {
		t.Errorf("Services = %q, %v", services, err)
	}
	for _, name := range []string{"greet.Greeter/Greet", "Greet"} {
		if _, err := c.Resolve(ctx, Method, name); err != nil {
			t.Errorf("Resolve(%s) = %v", name, err)
		}
	}
	_, err := c.Resolve(ctx, Method, "nothing.Like/It")
	if ne, ok := errors.AsType[*NameError](err); !ok || !errors.Is(ne, down.err) || !strings.Contains(err.Error(), "it's down") {
		t.Errorf("Resolve = %v, want a *NameError with the error of the failed source", err)
	}
	if names, err := c.Symbols(ctx, Service); err != nil || !slices.Contains(names, "greet.Greeter") {
		t.Errorf("Symbols = %q, %v", names, err)
	}

	c = NewCatalog(down, failingFinder{ErrNoReflection})
	if _, err := c.Services(ctx); status.Code(err) != codes.Unavailable {
		t.Errorf("Services = %v, want the first error", err)
	}
	if _, err := c.Resolve(ctx, Any, "a.B"); status.Code(err) != codes.Unavailable {
		t.Errorf("Resolve = %v, want the first error", err)
	}
	if _, err := c.Symbols(ctx, Any); status.Code(err) != codes.Unavailable {
		t.Errorf("Symbols = %v, want the first error", err)
	}
}

// A Catalog asks for a full name once, and for all files only if no source has it.
func TestCatalogCaches(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	source := &countingFinder{Finder: FromSet(compile(t, greeter()))}
	c := NewCatalog(source)
	for range 2 {
		s, err := c.Resolve(ctx, Method, "greet.Greeter/Greet")
		if err != nil {
			t.Fatal(err)
		}
		types := s.Types(ctx)
		for range 2 {
			_, _ = types.FindMessageByURL("x/lost.Type")
			_, _ = types.FindMessageByURL("x/google.protobuf.Duration")
		}
	}
	if source.finds != 1+2 || source.files != 0 { // lost.Type, once for each Types
		t.Errorf("%d finds and %d files, want 3 and 0", source.finds, source.files)
	}
	for range 2 {
		if _, err := c.Resolve(ctx, Method, "Greet"); err != nil {
			t.Fatal(err)
		}
	}
	if source.files != 1 {
		t.Errorf("%d files, want 1", source.files)
	}
	c.Refresh()
	if _, err := c.Resolve(ctx, Method, "greet.Greeter.Greet"); err != nil || source.finds != 4 {
		t.Errorf("%v, %d finds; want one more", err, source.finds)
	}
}

// All asks each source once, skips a failing one, and returns the limit of an incomplete one.
func TestCatalogAll(t *testing.T) {
	t.Parallel()
	limit := errors.New("limit")
	first, second := compile(t, greeter()), compile(t, greeter())
	second.limit = limit
	source := &countingFinder{Finder: FromSet(first)}
	for _, tc := range []struct {
		sources []Finder
		limit   error
	}{
		{[]Finder{failingFinder{errors.New("no")}, FromSet(nil), source}, nil},
		{[]Finder{source, FromSet(second)}, limit},
	} {
		source.files = 0
		all, err := NewCatalog(tc.sources...).All(t.Context(), Service)
		if s := all["greet.Greeter"]; !errors.Is(err, tc.limit) || s == nil || s.set != first || s.Incomplete() != nil {
			t.Errorf("All = %v, %v, want those of the first source, %v", all, err, tc.limit)
		}
		if source.files != 1 || source.finds != 0 {
			t.Errorf("asked for all files %d times, for a symbol %d times", source.files, source.finds)
		}
	}
}
