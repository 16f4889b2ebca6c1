// Package reflection collects the protobuf descriptors of several gRPC servers
// and serves them as those of one, by gRPC reflection v1 and v1alpha.
//
//	m := reflection.NewMerged(2, logger)
//	m.Register(server)
//	for i, cc := range upstreams {
//		if err := m.Fetch(ctx, i, reflection.FromServer(cc, nil)); err != nil {
//			…	// errors.Is(err, reflection.ErrNoReflection)
//		}
//	}
//
// A [Source] yields a [Set]: files, all that they import, and the services that
// they describe. Descriptors come from a server's own reflection, from files that
// protoc wrote (protosets), or from .proto source. A [Merged] holds one Set for
// each upstream, the first in order coming first wherever two disagree.
//
// A Set never changes and belongs to nobody: any number of goroutines and of
// Merged may share it. Nothing here runs in the background. A Source that asks a
// server has one stream open while it does, and none afterwards, so that it never
// holds up the server's GracefulStop.
//
// What a server says about itself is not trusted: the number and size of its
// files, their nesting and their imports are bounded, and what can't be used is
// left out and named in [Set.Problems].
package reflection

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection/types"
)

// ErrNoReflection is the error of a Source whose server offers neither version
// of gRPC reflection.
var ErrNoReflection = errors.New("reflection: the server offers no reflection")

// Source yields the descriptors of one upstream.
type Source interface {
	// Files asks anew each time. It returns when ctx is done.
	Files(ctx context.Context) (*Set, error)
}

// ErrNotFound is the error of a Finder that has no such symbol.
var ErrNotFound = errors.New("reflection: symbol not found")

// Finder is a Source that can be asked for a part of what it has.
type Finder interface {
	Source

	// Services returns the full names of all services, in alphabetical order.
	Services(ctx context.Context) ([]string, error)

	// Find returns a Set that has a symbol, all that it needs, and maybe more.
	// The error is ErrNotFound if there is no such symbol.
	Find(ctx context.Context, symbol protoreflect.FullName) (*Set, error)
}

// FromSet returns the Finder of what is known already.
func FromSet(set *Set) Finder { return setFinder{set} }

type setFinder struct{ set *Set }

func (f setFinder) Files(context.Context) (*Set, error)        { return f.set, nil }
func (f setFinder) Services(context.Context) ([]string, error) { return f.set.Services(), nil }

func (f setFinder) Find(_ context.Context, symbol protoreflect.FullName) (*Set, error) {
	if _, err := f.set.Files().FindDescriptorByName(symbol); err != nil {
		return nil, ErrNotFound
	}
	return f.set, nil
}

// sourceFunc makes a function a Source.
type sourceFunc func(ctx context.Context) (*Set, error)

func (f sourceFunc) Files(ctx context.Context) (*Set, error) { return f(ctx) }

// TypeResolver finds messages and extensions by their names.
type TypeResolver = types.Resolver

// Set is the descriptors of one upstream: files, all that they import, and the
// names of the services that the upstream offers. The nil Set is empty.
type Set struct {
	services   []string                            // sorted
	order      []*descriptorpb.FileDescriptorProto // each file after those that it imports
	registry   *protoregistry.Files                // the files of order
	extensions *protoregistry.Types                // their extensions
	types      types.Resolvers                     // their messages and extensions
	problems   []string                            // what was left out
}

// newSet returns a Set without files.
func newSet() *Set {
	s := &Set{registry: new(protoregistry.Files), extensions: new(protoregistry.Types)}
	s.types = types.Resolvers{s.extensions, dynamicpb.NewTypes(s.registry)}
	return s
}

// Services returns the full names of the services that the upstream offers, in
// alphabetical order. One that has no usable descriptor is among them.
func (s *Set) Services() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.services)
}

// Files returns the descriptors. It is the caller's to read, not to add to.
func (s *Set) Files() *protoregistry.Files {
	if s == nil {
		return new(protoregistry.Files)
	}
	return s.registry
}

// Problems returns what the upstream offered and the Set can't use, a sentence
// each: files that are missing, broken or too many, and who imports them.
func (s *Set) Problems() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.problems)
}

// Types returns the messages and extensions of the Set. Where it has none, those
// that are linked into the program are found: the well-known types and the
// details of errors (google/rpc/error_details.proto) always resolve.
func (s *Set) Types() TypeResolver {
	if s == nil {
		return types.Resolvers(nil)
	}
	return s.types
}

// definedServices returns the full names of the services in all files.
func (s *Set) definedServices() []string {
	var names []string
	s.registry.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			names = append(names, string(fd.Services().Get(i).FullName()))
		}
		return true
	})
	return serviceNames(names)
}

// serviceNames returns the valid names among names, sorted, each once.
func serviceNames(names []string) []string {
	valid := make(map[string]bool, len(names))
	for _, name := range names {
		if protoreflect.FullName(name).IsValid() {
			valid[name] = true
		}
	}
	return slices.Sorted(maps.Keys(valid))
}
