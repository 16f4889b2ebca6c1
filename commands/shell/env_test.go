package shell

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcreflection "google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
)

// limit is what anything may take on a busy machine.
const limit = 2 * time.Minute

// hub is the demo Hub with reflection.
func hub(tb testing.TB) *call.Target {
	tb.Helper()
	h := demo.New()
	s := grpc.NewServer()
	h.Register(s)
	grpcreflection.Register(s)
	l := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	cc, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cc.Close()
		h.Close()
		s.Stop()
		<-served
	})
	return &call.Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromServer(cc, nil))}
}

// compile returns a message of a .proto file.
func compile(tb testing.TB, source, message string) protoreflect.MessageDescriptor {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "test.proto")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		tb.Fatal(err)
	}
	set, err := reflection.LoadProtos([]string{file}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := set.Files().FindDescriptorByName(protoreflect.FullName(message))
	if err != nil {
		tb.Fatal(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// screen is what has been written, for tests to wait for.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	seen    int
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.changed)
	s.changed = make(chan struct{})
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until what was written behind the last match matches.
func (s *screen) await(tb testing.TB, pattern string) {
	tb.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		s.mu.Lock()
		at := re.FindStringIndex(s.text.String()[s.seen:])
		if at != nil {
			s.seen += at[1]
		}
		rest, changed := s.text.String()[s.seen:], s.changed
		s.mu.Unlock()
		if at != nil {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("no match for %q in %q", pattern, rest)
		}
	}
}

// typed is the Input of a test. Prompts go to the screen.
type typed struct {
	lines  chan string
	screen *screen
}

const (
	typeCtrlC = "\x03"
	typeCtrlD = "\x04"
)

func (i *typed) SetPrompt(prompt string) { _, _ = io.WriteString(i.screen, "["+prompt+"]") }

func (i *typed) ReadLine(ctx context.Context) (string, error) {
	select {
	case line := <-i.lines:
		if before, ok := strings.CutSuffix(line, typeCtrlC); ok {
			return before, ErrInterrupted
		}
		if line == typeCtrlD {
			return "", io.EOF
		}
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// sitting is somebody at an interactive shell.
type sitting struct {
	*Shell
	t      *testing.T
	screen *screen
	input  *typed
	ended  chan error
}

// sit starts an interactive shell, which the test has to leave.
func sit(t *testing.T, change func(*Shell)) *sitting {
	t.Helper()
	return sitUntil(t.Context(), t, change)
}

// sitUntil is sit with a context.
func sitUntil(ctx context.Context, t *testing.T, change func(*Shell)) *sitting {
	t.Helper()
	screen := newScreen()
	input := &typed{make(chan string), screen}
	s := &Shell{Target: hub(t), Input: input, Interactive: true, Stdout: screen, Stderr: screen, Settings: Settings{Compact: true}}
	if change != nil {
		change(s)
	}
	p := &sitting{s, t, screen, input, make(chan error, 1)}
	go func() { p.ended <- s.Run(ctx) }()
	return p
}

// enter types a line.
func (p *sitting) enter(line string) {
	p.t.Helper()
	select {
	case p.input.lines <- line:
	case <-time.After(limit):
		p.t.Fatalf("%q is not read; the screen: %s", line, p.screen)
	}
}

func (p *sitting) await(pattern string) {
	p.t.Helper()
	p.screen.await(p.t, pattern)
}

// end waits for the end of the shell.
func (p *sitting) end() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(limit):
		p.t.Fatalf("the shell goes on; the screen: %s", p.screen)
		return nil
	}
}
