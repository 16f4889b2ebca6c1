// Package reflection merges the protobuf descriptors of several gRPC servers and serves
// them by gRPC reflection v1 and v1alpha.
//
//	m := reflection.NewMerged(2, logger)
//	m.Register(server)
//	for i, cc := range upstreams {
//		set, err := reflection.FromServer(cc, nil).Files(ctx)
//		if err != nil {
//			…	// errors.Is(err, reflection.ErrNoReflection)
//		}
//		m.Set(i, set)
//	}
//
// A [Set] holds files, their imports, and the names of services. It comes from a
// server's own reflection, from files that protoc wrote (protosets), or from .proto
// source. A [Merged] holds one Set for each upstream; where two disagree, the first
// wins. A [Catalog] finds symbols by the names that users type.
//
// A Set never changes, so any number of goroutines and Merged may share it. The package
// starts no background goroutines. A [Server] has a stream open only while one of its
// methods runs, so it never delays the server's GracefulStop.
//
// Servers are not trusted: the number, size, nesting and imports of their files are
// bounded, as are the memory for their descriptors (256 MiB for each server, or less; see
// [Memory]) and the work to process them. A Set omits files that it can't use, and Merged
// logs them.
package reflection

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection/types"
)

// ErrNoReflection is the error of a [Server] that offers neither version of gRPC
// reflection.
var ErrNoReflection = errors.New("reflection: the server offers no reflection")

// ErrNotFound is the error of a [Finder] or a [Catalog] that doesn't have a symbol.
var ErrNotFound = errors.New("reflection: symbol not found")

// Finder is a source of descriptors, such as a [Server]. Its methods block until the
// source has answered or ctx is done.
type Finder interface {
	// Files returns all descriptors.
	Files(ctx context.Context) (*Set, error)

	// Services returns the full names of all services, in alphabetical order.
	Services(ctx context.Context) ([]string, error)

	// Find returns a Set with at least a symbol and everything it refers to.
	// The error is ErrNotFound if there is no such symbol.
	Find(ctx context.Context, symbol protoreflect.FullName) (*Set, error)
}

// FromSet returns a Finder of the symbols of set.
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

// TypeResolver finds messages and extensions by their names.
type TypeResolver = types.Resolver

// Set holds the descriptors of one upstream: files, their imports, and the names of
// the services that the upstream offers. The nil Set is empty.
type Set struct {
	services   []string             // sorted
	order      []*encodedFile       // each file after its imports
	registry   *protoregistry.Files // the files of order
	extensions *protoregistry.Types // their extensions
	types      types.Resolvers      // their messages and extensions
	problems   []string             // a sentence for each file left out or incomplete
	limit      error                // the limit that made the Set incomplete, nil: none
	bytes      int                  // an estimate of the memory for all of it
	maxEnums   int                  // the largest number of enums of a message, if many
}

// newSet returns a Set without files.
func newSet() *Set {
	s := &Set{registry: new(protoregistry.Files), extensions: new(protoregistry.Types)}
	s.types = types.Resolvers{s.extensions, dynamicpb.NewTypes(s.registry)}
	return s
}

// Services returns the full names of the services that the upstream offers, in
// alphabetical order, including those without a usable descriptor.
func (s *Set) Services() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.services)
}

// Files returns the files. The caller must not add to them.
func (s *Set) Files() *protoregistry.Files {
	if s == nil {
		return new(protoregistry.Files)
	}
	return s.registry
}

// Types returns a resolver for the messages and extensions of the Set, then those linked
// into the program, including the well-known types and error details
// (google/rpc/error_details.proto).
func (s *Set) Types() TypeResolver {
	if s == nil {
		return types.Resolvers(nil)
	}
	return s.types
}

// problemWith returns the first problem that mentions name, "" if there is none.
func (s *Set) problemWith(name string) string {
	if s != nil {
		for _, p := range s.problems {
			if strings.Contains(p, name) {
				return p
			}
		}
	}
	return ""
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

// serviceNames returns the valid names among names, sorted and without duplicates.
func serviceNames(names []string) []string {
	valid := make(map[string]bool, len(names))
	for _, name := range names {
		if protoreflect.FullName(name).IsValid() {
			valid[name] = true
		}
	}
	return slices.Sorted(maps.Keys(valid))
}
