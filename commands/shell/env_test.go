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

// waitLimit bounds every wait of a test.
const waitLimit = 2 * time.Minute

// hubTarget serves the demo Hub with reflection and returns a target for it.
func hubTarget(tb testing.TB) *call.Target {
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

// compileMessage compiles a .proto source and returns one of its messages.
func compileMessage(tb testing.TB, source, message string) protoreflect.MessageDescriptor {
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

// screen records everything written to it.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	matched int           // end of await's last match
	changed chan struct{} // closed and replaced by each Write
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

// await waits until the text after the last match matches pattern.
func (s *screen) await(tb testing.TB, pattern string) {
	tb.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(waitLimit)
	for {
		s.mu.Lock()
		at := re.FindStringIndex(s.text.String()[s.matched:])
		if at != nil {
			s.matched += at[1]
		}
		rest, changed := s.text.String()[s.matched:], s.changed
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

// lineInput is the Input of an interactive test. It writes prompts to the screen.
type lineInput struct {
	lines  chan string
	screen *screen
}

const (
	typeCtrlC = "\x03"
	typeCtrlD = "\x04"
)

func (i *lineInput) SetPrompt(prompt string) { _, _ = io.WriteString(i.screen, "["+prompt+"]") }

func (i *lineInput) Remember(string) {}

func (i *lineInput) Clear() { _, _ = io.WriteString(i.screen, "[cleared]") }

func (i *lineInput) ReadLine(ctx context.Context) (string, error) {
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

// interactiveShell is a running interactive shell.
type interactiveShell struct {
	*Shell
	t      *testing.T
	screen *screen
	input  *lineInput
	ended  chan error // Run's result
}

// startShell starts an interactive shell, which the test must end. change, which may be
// nil, adjusts it first.
func startShell(t *testing.T, change func(*Shell)) *interactiveShell {
	t.Helper()
	return startShellContext(t.Context(), t, change)
}

// startShellContext is startShell with a context for Run.
func startShellContext(ctx context.Context, t *testing.T, change func(*Shell)) *interactiveShell {
	t.Helper()
	screen := newScreen()
	input := &lineInput{make(chan string), screen}
	s := &Shell{Target: hubTarget(t), Input: input, Interactive: true, Stdout: screen, Stderr: screen, Settings: Settings{Compact: true}}
	if change != nil {
		change(s)
	}
	p := &interactiveShell{s, t, screen, input, make(chan error, 1)}
	go func() { p.ended <- s.Run(ctx) }()
	return p
}

// typeLine passes a line to the shell, as soon as it reads one.
func (s *interactiveShell) typeLine(line string) {
	s.t.Helper()
	select {
	case s.input.lines <- line:
	case <-time.After(waitLimit):
		s.t.Fatalf("the shell doesn't read %q; the screen: %s", line, s.screen)
	}
}

func (s *interactiveShell) await(pattern string) {
	s.t.Helper()
	s.screen.await(s.t, pattern)
}

// wait waits for the end of the shell and returns its error.
func (s *interactiveShell) wait() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(waitLimit):
		s.t.Fatalf("the shell doesn't end; the screen: %s", s.screen)
		return nil
	}
}

// cutBetween returns the part of text between two others.
func cutBetween(text, before, after string) (string, bool) {
	_, text, ok := strings.Cut(text, before)
	text, _, end := strings.Cut(text, after)
	return text, ok && end
}
