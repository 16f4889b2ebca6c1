package reflection

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcreflection "google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// testTimeout is generous because the machine may be busy.
const testTimeout = 2 * time.Minute

// testContext returns a context that ends long before the test binary times out.
func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), testTimeout)
	tb.Cleanup(cancel)
	return ctx
}

// protos writes .proto files, keyed by path, and returns their directory.
func protos(tb testing.TB, sources map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for path, text := range sources {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// compile returns the Set of .proto files, keyed by path.
func compile(tb testing.TB, sources map[string]string) *Set {
	tb.Helper()
	dir := protos(tb, sources)
	var paths []string
	for path := range sources {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	set, err := LoadProtos(paths, []string{dir})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// protosOf returns the files of a Set.
func protosOf(set *Set) []*descriptorpb.FileDescriptorProto {
	var all []*descriptorpb.FileDescriptorProto
	for _, f := range set.order {
		all = append(all, f.decode())
	}
	return all
}

// problemsOf returns the problems of a Set, which may be nil.
func problemsOf(set *Set) []string {
	if set == nil {
		return nil
	}
	return set.problems
}

// version is a bit set of the versions of reflection that a server offers.
type version int

const (
	v1 version = 1 << iota
	v1alpha
)

// echoServer returns a server that implements all methods of a Set as unary echoes (the
// request decoded as the output type) and serves the Set by grpc-go's reflection.
func echoServer(tb testing.TB, set *Set, versions version) *grpc.Server {
	tb.Helper()
	s := grpc.NewServer()
	for _, name := range set.Services() {
		d, err := set.Files().FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			tb.Fatal(err)
		}
		registerEcho(s, d.(protoreflect.ServiceDescriptor))
	}
	options := grpcreflection.ServerOptions{
		Services: s, DescriptorResolver: set.Files(), ExtensionResolver: set.extensions,
	}
	if versions&v1 != 0 {
		grpc_reflection_v1.RegisterServerReflectionServer(s, grpcreflection.NewServerV1(options))
	}
	if versions&v1alpha != 0 {
		grpc_reflection_v1alpha.RegisterServerReflectionServer(s, grpcreflection.NewServer(options))
	}
	return s
}

func registerEcho(s *grpc.Server, sd protoreflect.ServiceDescriptor) {
	desc := &grpc.ServiceDesc{ServiceName: string(sd.FullName()), HandlerType: (*any)(nil)}
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: string(md.Name()),
			Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in, out := dynamicpb.NewMessage(md.Input()), dynamicpb.NewMessage(md.Output())
				if err := dec(in); err != nil {
					return nil, err
				}
				data, err := proto.Marshal(in)
				if err != nil {
					return nil, err
				}
				return out, proto.Unmarshal(data, out)
			},
		})
	}
	s.RegisterService(desc, struct{}{})
}

// serve serves s in memory until the test ends, and returns a client.
func serve(tb testing.TB, s *grpc.Server) *grpc.ClientConn {
	tb.Helper()
	ln := bufconn.Listen(1 << 20)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(ln) })
	cc, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cc.Close()
		s.Stop()
		wg.Wait()
	})
	return cc
}

// merged serves a Merged of the Sets.
func merged(tb testing.TB, sets ...*Set) (*Merged, *grpc.ClientConn) {
	tb.Helper()
	m := NewMerged(len(sets), nil)
	for i, set := range sets {
		m.Set(i, set)
	}
	s := grpc.NewServer()
	m.Register(s)
	return m, serve(tb, s)
}

// logRecorder keeps the lines of its logger.
type logRecorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *logRecorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, nil))
}

func (r *logRecorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *logRecorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}
