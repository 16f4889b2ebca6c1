//go:build unix

package main

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
	grpcurl := filepath.Join(tools(t), "grpcurl")
	wstun, err := exec.LookPath("wstun")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sink.proto"), []byte(sinkProto), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificates(folder{t, dir})
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	addr, secure := serveEverything(t, dir, socket)
	tunnel := strings.TrimSpace(stay(t, "exec wstun serve --accept 127.0.0.1:0 --raw --upstream "+addr))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	run := func(t *testing.T, program, args, target, stdin string) outcome {
		t.Helper()
		args = strings.NewReplacer("TARGET", target, "ADDR", addr, "SECURE", secure, "ROOT", root, "SOCKET", socket, "DEAD", dead.Addr().String()).Replace(args)
		cmd := exec.CommandContext(t.Context(), program, words(args)...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), "ONE=1", "GORACE=atexit_sleep_ms=0") // else the race detector has each process wait for a second
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if ee, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		} else if ok && ee.ExitCode() < 0 {
			t.Errorf("%s %s: %v", program, args, err)
		}
		t.Logf("%s %s: status %d\n%s", filepath.Base(program), args, cmd.ProcessState.ExitCode(), &stderr)
		return outcome{lasting(stdout.String()), lasting(stderr.String()), cmd.ProcessState.ExitCode()}
	}
	run(t, grpcurl, "-plaintext -protoset-out hub.protoset ADDR describe wstun.demo.v1.Hub", "", "")
	compare := func(comparisons []comparison, mistakes bool, targets ...string) {
		for _, c := range comparisons {
			t.Run(c.wstun, func(t *testing.T) {
				t.Parallel()
				want := run(t, grpcurl, c.grpcurl, "", c.stdin)
				if mistakes {
					if want.status != 1 && want.status != 2 {
						t.Errorf("grpcurl's status is %d, want 1 or 2", want.status)
					}
					want.status = 2
				}
				for _, target := range targets {
					run(t, wstun, c.wstun, target, c.stdin).compare(t, want)
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
			want := run(t, grpcurl, fmt.Sprintf("-plaintext -proto-out-dir %s.g -protoset-out %s.g.protoset %s", out, out, args), "", "")
			verb, rest, _ := strings.Cut(strings.TrimPrefix(args, "ADDR "), " ")
			run(t, wstun, fmt.Sprintf("%s --proto-out-dir %s.w --protoset-out %s.w.protoset TARGET %s", verb, out, out, rest), tunnel, "").compare(t, want)
			sameFiles(t, filepath.Join(dir, out+".w"), filepath.Join(dir, out+".g"))
			sameProtoset(t, filepath.Join(dir, out+".w.protoset"), filepath.Join(dir, out+".g.protoset"))
		}
	})
}

// outcome is what comes of a program.
type outcome struct {
	stdout, stderr string
	status         int
}

// advice is how wstun puts an error.
var advice = regexp.MustCompile(`^wstun: .+\n(wstun: hint: .+\n)?$`)

// compare compares wstun's outcome with grpcurl's. Errors have their own words, but for
// the statuses of calls.
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
	} else if !advice.MatchString(got.stderr) {
		t.Errorf("stderr\n%s\nwant one error, and maybe a hint", got.stderr)
	}
}

// jsonLines is the lines that a text has, whatever the order of fields.
func jsonLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n") // grpcurl ends some without a line break
	for i, line := range lines {
		lines[i] = strings.Trim(line, "\t ,")
	}
	slices.Sort(lines)
	return lines
}

// folder is where writeCertificates writes to.
type folder struct {
	t    *testing.T
	path string
}

func (f folder) MkAbs(name string) string { return filepath.Join(f.path, name) }

func (f folder) Check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// serveEverything serves the demo Hub and the service Sink, which answers with the message
// it is sent, and returns the address, and one with TLS. It also listens at a unix socket.
// What calls came with goes back in their headers. The files are in dir.
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
			authority = nil // each has its own
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
			m := new(emptypb.Empty) // keeps the fields, which it doesn't know
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

// words splits a command line as a shell does, as far as it is used here.
func words(line string) []string {
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
	// grpcurl puts it differently, depending on which end is the first to see it.
	{regexp.MustCompile(`(Code: DeadlineExceeded\n  Message: ).*`), "${1}TEXT"},
	// What -vv measures is wstun's own.
	{regexp.MustCompile(`(?m)^\n?(Response|Estimated response) size: .*\n`), ""},
	{regexp.MustCompile(`(?m)^\nConnected in .*\n`), ""},
	{regexp.MustCompile(`(?ms)^(Timing Data|Timings, from).*`), ""},
}

// lasting is output without what differs from time to time.
func lasting(out string) string {
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
