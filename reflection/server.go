package reflection

import (
	"context"
	"fmt"
	"hash/maphash"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Server is the Finder that asks a server by reflection, v1 or else v1alpha. It caches
// nothing.
//
// Its methods return [ErrNoReflection] if the server offers neither version, and errors
// with the gRPC status if a request fails. They end their stream before they return.
type Server struct {
	cc     grpc.ClientConnInterface
	header metadata.MD
	memory Memory
}

// FromServer returns a Server for the server that cc is connected to. It adds header,
// which may be nil, to the metadata of its requests.
func FromServer(cc grpc.ClientConnInterface, header metadata.MD) *Server {
	return &Server{cc: cc, header: header}
}

// SetMemory makes s reserve the memory for descriptors from m, in addition to the limit of
// 256 MiB for each server. A [Set] holds its part until it is garbage. Files that exceed the
// memory are left out of a Set, with a problem. Call SetMemory before any other method.
func (s *Server) SetMemory(m Memory) { s.memory = m }

// Files returns the files of all services, their imports, and the extensions of their
// messages. It omits services that the server lists but can't describe.
func (s *Server) Files(ctx context.Context) (*Set, error) {
	var set *Set
	err := s.withVersion(ctx, func(ctx context.Context, f *fetch) error {
		services, err := f.list(ctx)
		if err != nil {
			return err
		}
		set, err = f.describe(ctx, services)
		return err
	})
	return set, err
}

// Services returns the sorted full names of the services, without invalid names and
// without those beyond the first 20,000.
func (s *Server) Services(ctx context.Context) ([]string, error) {
	_, services, err := s.List(ctx)
	return services, err
}

// List is like Services, and also returns the version of reflection that the server
// offers: "v1" or "v1alpha".
func (s *Server) List(ctx context.Context) (version string, services []string, err error) {
	err = s.withVersion(ctx, func(ctx context.Context, f *fetch) (err error) {
		version = f.stream.version
		services, err = f.list(ctx)
		return err
	})
	return version, services, err
}

// Find returns the file that defines a symbol, its imports, and the extensions of its
// messages.
func (s *Server) Find(ctx context.Context, symbol protoreflect.FullName) (*Set, error) {
	var set *Set
	err := s.withVersion(ctx, func(ctx context.Context, f *fetch) (err error) {
		set, err = f.describe(ctx, []string{string(symbol)})
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := set.registry.FindDescriptorByName(symbol); err == nil {
		set.services = set.definedServices()
		return set, nil
	}
	if len(set.problems) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, set.problems[0])
	}
	return nil, ErrNotFound
}

// withVersion calls do with each version of reflection until the server offers one.
func (s *Server) withVersion(ctx context.Context, do func(context.Context, *fetch) error) error {
	if len(s.header) > 0 {
		out, _ := metadata.FromOutgoingContext(ctx)
		ctx = metadata.NewOutgoingContext(ctx, metadata.Join(out, s.header))
	}
	for _, version := range versions {
		f := newFetch(s.cc, version, s.memory)
		err := do(ctx, f)
		f.stream.close()
		if err != nil {
			f.b.memory.close()
		}
		if status.Code(err) != codes.Unimplemented {
			return err
		}
	}
	return ErrNoReflection
}

func newFetch(cc grpc.ClientConnInterface, version string, shared Memory) *fetch {
	b := newBuilder()
	b.memory, b.budget = &account{shared: shared, limit: maxMemory}, newBudget(maxWork)
	return &fetch{
		b:       b,
		stream:  &lazyStream{cc: cc, version: version, codec: newCodec(b)},
		batch:   maxBatch,
		seed:    maphash.MakeSeed(),
		seen:    make(map[uint64]string),
		queued:  make(map[string]bool),
		symbols: make(map[string]bool),
		bytes:   maxBytes,
	}
}

// describe fetches the files of symbols, their imports and extensions. The symbols
// become the Set's services.
func (f *fetch) describe(ctx context.Context, symbols []string) (*Set, error) {
	for _, name := range symbols {
		if path := builtinPath(protoreflect.FullName(name)); path != "" {
			f.b.add(builtinProto(path)) // some servers can't describe these
			continue
		}
		f.enqueue(question{subject: "symbol " + name, request: &request{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name},
		}})
	}
	if err := f.run(ctx); err != nil {
		return nil, fmt.Errorf("reflection: fetch files: %w", brief(err))
	}
	f.queueExtensions()
	if err := f.run(ctx); err != nil {
		return nil, fmt.Errorf("reflection: fetch extensions: %w", brief(err))
	}
	f.stream.close()
	f.b.memory.release(f.questions)
	return f.b.build(ctx, symbols)
}

// brief shortens the text of a status error to "Code: message".
func brief(err error) error {
	if s, ok := status.FromError(err); ok {
		return &briefError{s}
	}
	return err
}

type briefError struct{ status *status.Status }

func (e *briefError) Error() string              { return e.status.Code().String() + ": " + e.status.Message() }
func (e *briefError) GRPCStatus() *status.Status { return e.status }
