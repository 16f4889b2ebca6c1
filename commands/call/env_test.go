package call

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcreflection "google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
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

// serve serves the registered services in memory until the test ends, and returns a
// connection.
func serve(tb testing.TB, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.ClientConn {
	tb.Helper()
	s := grpc.NewServer(opts...)
	register(s)
	l := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	cc, err := grpc.NewClient("passthrough:///test", append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
	)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cc.Close()
		s.Stop()
		<-served
	})
	return cc
}

// hub returns a Target of the demo Hub with reflection.
func hub(tb testing.TB) *Target {
	tb.Helper()
	h := demo.New()
	tb.Cleanup(h.Close)
	cc := serve(tb, func(s *grpc.Server) {
		h.Register(s)
		grpcreflection.Register(s)
	})
	return &Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromServer(cc, nil))}
}

// method returns a method of target.
func method(tb testing.TB, target *Target, name string) *Method {
	tb.Helper()
	m, err := target.Method(testContext(tb), name)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// compile returns the Set of one .proto file.
func compile(tb testing.TB, source string) *reflection.Set {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "test.proto")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		tb.Fatal(err)
	}
	set, err := reflection.LoadProtos([]string{file}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// demoSet returns the descriptors of the demo Hub.
func demoSet(tb testing.TB) *reflection.Set {
	tb.Helper()
	set, err := reflection.LoadProtos([]string{"../demo/hub.proto"}, []string{"../.."})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// invoke calls a method of target with requests in JSON, and returns the responses as
// lines of compact JSON.
func invoke(tb testing.TB, target *Target, name, requests string, opts *Options) (string, *Result) {
	tb.Helper()
	m := method(tb, target, name)
	var out strings.Builder
	p := &Printer{Out: &out, Types: m.Types(testContext(tb)), Format: message.Options{Compact: true}}
	r, err := Invoke(testContext(tb), target.Conn, m, NewRequests(strings.NewReader(requests), message.JSON, p.Types, &RequestOptions{ReadAhead: true}), opts, p.Events())
	if err != nil {
		tb.Fatal(err)
	}
	return out.String(), r
}
