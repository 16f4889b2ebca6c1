//go:build unix

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
)

func TestAsGrpcurl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sink.proto"), []byte(sinkProto), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificates(dir, time.Hour, func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	})
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	addr, secure := serveEverything(t, dir, socket)
	tunnel := strings.TrimSpace(startCommand(t, "exec wstun serve --accept 127.0.0.1:0 --raw --upstream "+addr))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	run := func(t *testing.T, program, args, target, stdin string) outcome {
		t.Helper()
		args = strings.NewReplacer("TARGET", target, "ADDR", addr, "SECURE", secure, "ROOT", root, "SOCKET", socket, "DEAD", dead.Addr().String()).Replace(args)
		cmd := exec.CommandContext(t.Context(), program, splitWords(args)...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), "ONE=1")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if ee, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		} else if ok && ee.ExitCode() < 0 {
			t.Errorf("%s %s: %v", program, args, err)
		}
		t.Logf("%s %s: status %d\n%s", program, args, cmd.ProcessState.ExitCode(), &stderr)
		return outcome{withoutVolatile(stdout.String()), withoutVolatile(stderr.String()), cmd.ProcessState.ExitCode()}
	}
	run(t, "grpcurl", "-plaintext -protoset-out hub.protoset ADDR describe wstun.demo.v1.Hub", "", "")
	compare := func(comparisons []comparison, mistakes bool, targets ...string) {
		for _, c := range comparisons {
			t.Run(c.wstun, func(t *testing.T) {
				t.Parallel()
				want := run(t, "grpcurl", c.grpcurl, "", c.stdin)
				if mistakes {
					if want.status != 1 && want.status != 2 {
						t.Errorf("grpcurl's status is %d, want 1 or 2", want.status)
					}
					want.status = 2
				}
				for _, target := range targets {
					run(t, "wstun", c.wstun, target, c.stdin).compare(t, want)
				}
			})
		}
	}
	compare(comparisons, false, tunnel, addr)
	compare(mistakes, true, tunnel, addr)
	compare(plainComparisons, false, "")
	compare(plainMistakes, true, "")
	t.Run("exports", func(t *testing.T) {
		t.Parallel()
		for i, args := range []string{"ADDR describe wstun.demo.v1.Hub", "ADDR list", "ADDR list sink.Sink", "ADDR describe sink.All"} {
			out := fmt.Sprintf("out-%d", i)
			want := run(t, "grpcurl", fmt.Sprintf("-plaintext -proto-out-dir %s.g -protoset-out %s.g.protoset %s", out, out, args), "", "")
			verb, rest, _ := strings.Cut(strings.TrimPrefix(args, "ADDR "), " ")
			run(t, "wstun", fmt.Sprintf("%s --proto-out-dir %s.w --protoset-out %s.w.protoset TARGET %s", verb, out, out, rest), tunnel, "").compare(t, want)
			sameFiles(t, filepath.Join(dir, out+".w"), filepath.Join(dir, out+".g"))
			sameProtoset(t, filepath.Join(dir, out+".w.protoset"), filepath.Join(dir, out+".g.protoset"))
		}
	})
}

// outcome is a program's output and exit status.
type outcome struct {
	stdout, stderr string
	status         int
}

// errorText is the form of wstun's errors.
var errorText = regexp.MustCompile(`^wstun: .+\n(wstun: hint: .+\n)?$`)

// compare compares wstun's outcome with grpcurl's. The texts of errors differ,
// except for the statuses of calls.
func (got outcome) compare(t *testing.T, want outcome) {
	t.Helper()
	if got.stdout != want.stdout {
		t.Errorf("stdout\n%s\ngrpcurl's\n%s", got.stdout, want.stdout)
	}
	if got.status != want.status {
		t.Errorf("status %d, want %d", got.status, want.status)
	}
	if want.status == 0 || want.status > 64 {
		if !slices.Equal(jsonLines(got.stderr), jsonLines(want.stderr)) {
			t.Errorf("stderr\n%s\ngrpcurl's\n%s", got.stderr, want.stderr)
		}
	} else if !errorText.MatchString(got.stderr) {
		t.Errorf("stderr\n%s\nwant one error, and maybe a hint", got.stderr)
	}
}

// jsonLines returns the lines of a text, sorted, since the order of fields varies.
func jsonLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n") // grpcurl ends some without a line break
	for i, line := range lines {
		lines[i] = strings.Trim(line, "\t ,")
	}
	slices.Sort(lines)
	return lines
}

// serveEverything serves the demo Hub and the service Sink, which echoes its
// message, on a TCP address, on one with TLS, and on a unix socket. It sends some
// of a call's metadata back in the headers. sink.proto and the certificates are in dir.
func serveEverything(t *testing.T, dir, socket string) (addr, secure string) {
	t.Helper()
	set, err := reflection.LoadProtos([]string{"sink.proto"}, []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	seen := func(ctx context.Context) metadata.MD {
		md, _ := metadata.FromIncomingContext(ctx)
		authority := md[":authority"]
		if len(authority) == 1 && authority[0] != "hub.example" {
			authority = nil // it differs between the programs
		}
		return metadata.MD{"seen": slices.Concat(authority, md["x-one"], md["x-two"]), "seen-bin": md["x-raw-bin"]}
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			_ = grpc.SetHeader(ctx, seen(ctx))
			_ = grpc.SetTrailer(ctx, metadata.Pairs("end-bin", "\x00"))
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if md, _ := metadata.FromIncomingContext(ss.Context()); len(md["x-deny"]) > 0 {
				return status.Error(codes.PermissionDenied, "as you like")
			}
			return handler(srv, ss)
		}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			m := new(emptypb.Empty) // keeps all fields, as unknown ones
			if err := stream.RecvMsg(m); err != nil {
				return err
			}
			return stream.SendMsg(m)
		}))
	demo.New().Register(s)
	merged := reflection.NewMerged(1, nil)
	merged.Set(0, set)
	merged.Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	encrypted := tls.NewListener(tcp, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	for _, l := range []net.Listener{l, unix, encrypted} {
		go func() { _ = s.Serve(l) }()
	}
	t.Cleanup(s.Stop)
	return l.Addr().String(), encrypted.Addr().String()
}

var quoted = regexp.MustCompile(`'[^']*'|\S+`)

// splitWords splits a command line at blanks outside '…'.
func splitWords(line string) []string {
	var list []string
	for _, word := range quoted.FindAllString(line, -1) {
		list = append(list, strings.Trim(word, "'"))
	}
	return list
}

var volatile = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*Z"`), `"TIME"`},
	// grpcurl's text depends on which end sees the deadline first.
	{regexp.MustCompile(`(Code: DeadlineExceeded\n  Message: ).*`), "${1}TEXT"},
	// The measurements of -vv.
	{regexp.MustCompile(`(?m)^\n?(Response|Estimated response) size: .*\n`), ""},
	{regexp.MustCompile(`(?m)^\nConnected in .*\n`), ""},
	{regexp.MustCompile(`(?ms)^(Timing Data|Timings since).*`), ""},
}

// withoutVolatile returns out without the parts that differ between runs.
func withoutVolatile(out string) string {
	for _, v := range volatile {
		out = v.re.ReplaceAllString(out, v.to)
	}
	return out
}

func sameFiles(t *testing.T, got, want string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "diff", "-r", got, want).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func sameProtoset(t *testing.T, got, want string) {
	t.Helper()
	var sets [2]descriptorpb.FileDescriptorSet
	for i, path := range []string{got, want} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(data, &sets[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !proto.Equal(&sets[0], &sets[1]) {
		t.Errorf("%s differs from grpcurl's", got)
	}
}
