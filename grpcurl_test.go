//go:build unix

package main

import (
	"bytes"
	"context"
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

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
)

// sinkProto has one of everything that can be described.
const sinkProto = `
syntax = "proto2";

package sink;

import "google/protobuf/any.proto";
import "google/protobuf/descriptor.proto";
import "google/protobuf/struct.proto";

// Sink takes it all.
service Sink {
  option (note) = "on a service";
  // Take takes.
  rpc Take(All) returns (All) { option deprecated = true; }
}

extend google.protobuf.ServiceOptions { optional string note = 50001; }

message All {
  required int64 id = 1 [deprecated = true];
  repeated Color colors = 2 [packed = true];
  map<string, Inner> inners = 3;
  oneof one {
    string this = 4;
    bytes that = 5;
  }
  optional group Old = 6 { optional bool very = 1 [default = true]; }
  message Inner { optional double d = 1; optional All all = 2; }
  optional google.protobuf.Any any = 7;
  optional google.protobuf.Struct struct = 8;
  optional google.protobuf.Value value = 9;
  extensions 100 to max;
  reserved 50 to 60, 70;
  reserved "gone";
}

enum Color {
  option allow_alias = true;
  RED = 0;
  GREEN = 1;
  VERT = 1;
}

extend All { optional string extra = 101; }
`

// comparison is one way to call grpcurl, and how that is said to wstun. In the
// arguments ADDR stands for the server's address, TARGET for it or the tunnel to it.
type comparison struct {
	grpcurl, wstun string // arguments; those with blanks in '…'
	stdin          string
}

// What grpcurl's README and its -help name, one for one, with services there are, and
// what may go wrong.
var comparisons = []comparison{
	// README, "Invoking RPCs"
	{"-plaintext ADDR wstun.demo.v1.Hub/Sleep", "call --pretty TARGET wstun.demo.v1.Hub/Sleep", ""},
	{`-plaintext -d '{"name": "none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty -d '{"name": "none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{"-plaintext -d @ ADDR wstun.demo.v1.Hub/Sum", "call --pretty -d @ TARGET wstun.demo.v1.Hub/Sum", "{\n  \"value\": 1234\n}\n{\"value\": \"1\"}"},
	{`-plaintext -d '{"text":"a"} {"text":"b"}' ADDR wstun.demo.v1.Hub.Echo`, `call --pretty -d '{"text":"a"} {"text":"b"}' TARGET wstun.demo.v1.Hub.Echo`, ""},
	{`-plaintext -d '{"tick":"0.001s","maxEvents":2}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty -d '{"tick":"0.001s","maxEvents":2}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{"-plaintext ADDR wstun.demo.v1.Hub/Sum", "call --pretty TARGET wstun.demo.v1.Hub/Sum", ""},
	{"-plaintext ADDR wstun.demo.v1.Hub/Echo", "call --pretty TARGET wstun.demo.v1.Hub/Echo", ""},
	// "Adding Headers/Metadata to Request"
	{"-plaintext -v -H x-one:1 -H x-two:2 -d '{}' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header x-one:1 --rpc-header x-two:2 -d '{}' TARGET wstun.demo.v1.Hub/Sleep", ""},
	// "Listing Services"
	{"-plaintext ADDR list", "list TARGET", ""},
	{"-protoset hub.protoset list", "list --protoset hub.protoset", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto list", "list --import-path ROOT --proto commands/demo/hub.proto", ""},
	{"-plaintext ADDR list wstun.demo.v1.Hub", "list TARGET wstun.demo.v1.Hub", ""},
	{"-protoset hub.protoset list wstun.demo.v1.Hub", "list --protoset hub.protoset wstun.demo.v1.Hub", ""},
	// "Describing Elements"
	{"-plaintext ADDR describe wstun.demo.v1.Hub.Sum", "describe TARGET wstun.demo.v1.Hub.Sum", ""},
	{"-protoset hub.protoset describe wstun.demo.v1.Hub.Sum", "describe --protoset hub.protoset wstun.demo.v1.Hub.Sum", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto describe wstun.demo.v1.Hub.Sum", "describe --import-path ROOT --proto commands/demo/hub.proto wstun.demo.v1.Hub.Sum", ""},
	{"-plaintext ADDR describe", "describe TARGET", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto describe", "describe --import-path ROOT --proto commands/demo/hub.proto", ""},
	{"-plaintext ADDR describe .wstun.demo.v1.KeyEvent", "describe TARGET .wstun.demo.v1.KeyEvent", ""},
	{"-plaintext -msg-template ADDR describe wstun.demo.v1.KeyEvent", "describe --msg-template TARGET wstun.demo.v1.KeyEvent", ""},
	{"-plaintext -msg-template -format text ADDR describe sink.All", "describe --msg-template --format text TARGET sink.All", ""},
	{"-plaintext -msg-template ADDR describe sink.All", "describe --msg-template TARGET sink.All", ""},
	{"-plaintext ADDR describe sink.Sink", "describe TARGET sink.Sink", ""},
	{"-plaintext ADDR describe sink.All.Inner", "describe TARGET sink.All.Inner", ""},
	{"-plaintext ADDR describe sink.All.InnersEntry", "describe TARGET sink.All.InnersEntry", ""},
	{"-plaintext ADDR describe sink.All.Old", "describe TARGET sink.All.Old", ""},
	{"-plaintext ADDR describe sink.All.old", "describe TARGET sink.All.old", ""},
	{"-plaintext ADDR describe sink.All.one", "describe TARGET sink.All.one", ""},
	{"-plaintext ADDR describe sink.All.id", "describe TARGET sink.All.id", ""},
	{"-plaintext ADDR describe sink.extra", "describe TARGET sink.extra", ""},
	{"-plaintext ADDR describe sink.Color", "describe TARGET sink.Color", ""},
	{"-plaintext ADDR describe sink.GREEN", "describe TARGET sink.GREEN", ""},
	{"-plaintext ADDR describe google.rpc.ErrorInfo", "describe TARGET google.rpc.ErrorInfo", ""},
	{"-import-path . -proto sink.proto describe sink.All", "describe --import-path . --proto sink.proto sink.All", ""},
	// -help
	{"-plaintext -v ADDR wstun.demo.v1.Hub/Sum", "call --pretty -v TARGET wstun.demo.v1.Hub/Sum", ""},
	{`-plaintext -v -d '{"name":"none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty -v -d '{"name":"none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{`-plaintext -v -d '{"tick":"-1s"}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty -v -d '{"tick":"-1s"}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{`-plaintext -vv -d '{"text":"a"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty -vv -d '{"text":"a"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -format text -d 'text: "a"` + "\x1e" + `text: "b"' ADDR wstun.demo.v1.Hub/Echo`, `call --format text -d 'text: "a"` + "\x1e" + `text: "b"' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{"-plaintext -format text ADDR wstun.demo.v1.Hub/Echo", `call --format text -d '' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -emit-defaults -d '{}' ADDR wstun.demo.v1.Hub/Sum`, `call --pretty --emit-defaults -d '{}' TARGET wstun.demo.v1.Hub/Sum`, ""},
	{`-plaintext -emit-defaults -d '{"maxEvents":1,"tick":"0.001s"}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty --emit-defaults -d '{"maxEvents":1,"tick":"0.001s"}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{`-plaintext -allow-unknown-fields -d '{"odd":1,"text":"x"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty --allow-unknown-fields -d '{"odd":1,"text":"x"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{"-plaintext -v -rpc-header x-one:1 ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header x-one:1 TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -v -rpc-header 'x-raw-bin: AAEC' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header 'x-raw-bin: AAEC' TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -v -expand-headers -H 'x-one: ${ONE}' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --expand-headers --rpc-header 'x-one: ${ONE}' TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -reflect-header x-deny:1 ADDR list", "list --reflect-header x-deny:1 TARGET", ""},
	{"-plaintext -v -authority hub.example ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --authority hub.example TARGET wstun.demo.v1.Hub/Sleep", ""},
	{`-plaintext -max-time 3 -d '{"duration":"20s"}' ADDR wstun.demo.v1.Hub/Sleep`, `call --pretty --max-time 3 -d '{"duration":"20s"}' TARGET wstun.demo.v1.Hub/Sleep`, ""},
	{"-plaintext -max-msg-sz 67108864 ADDR wstun.demo.v1.Hub/GetTemplates", "call --pretty --max-msg-sz 67108864 TARGET wstun.demo.v1.Hub/GetTemplates", ""},
	{"-plaintext -max-msg-sz 100000 ADDR wstun.demo.v1.Hub/GetTemplates", "call --pretty --max-msg-sz 100000 TARGET wstun.demo.v1.Hub/GetTemplates", ""},
	{`-plaintext -format-error -d '{"name":"none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty --format-error -d '{"name":"none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{`-plaintext -protoset hub.protoset -d '{"text":"x"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty --protoset hub.protoset -d '{"text":"x"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{
		`-plaintext -protoset hub.protoset -use-reflection -d '{"id":1,"any":{"@type":"x/wstun.demo.v1.Key","name":"k"}}' ADDR sink.Sink/Take`,
		`call --pretty --protoset hub.protoset --use-reflection -d '{"id":1,"any":{"@type":"x/wstun.demo.v1.Key","name":"k"}}' TARGET sink.Sink/Take`, "",
	},
	{
		`-plaintext -d '{"id":1,"colors":["VERT"],"inners":{"k":{"d":0.1}},"that":"AAE=","old":{"very":false},"value":[null],"[sink.extra]":"e"}' ADDR sink.Sink/Take`,
		`call --pretty -d '{"id":1,"colors":["VERT"],"inners":{"k":{"d":0.1}},"that":"AAE=","old":{"very":false},"value":[null],"[sink.extra]":"e"}' TARGET sink.Sink/Take`, "",
	},
	// What goes wrong
	{"-plaintext ADDR wstun.demo.v1.Hub/Nonsense", "call TARGET wstun.demo.v1.Hub/Nonsense", ""},
	{"-plaintext ADDR nonsense.Nonsense/Nonsense", "call TARGET nonsense.Nonsense/Nonsense", ""},
	{"-plaintext ADDR list nonsense.Nonsense", "list TARGET nonsense.Nonsense", ""},
	{"-plaintext ADDR describe nonsense.Nonsense", "describe TARGET nonsense.Nonsense", ""},
	{"-plaintext -d '{oops' ADDR wstun.demo.v1.Hub/Sum", "call -d '{oops' TARGET wstun.demo.v1.Hub/Sum", ""},
	{`-plaintext -d '{"odd":1}' ADDR wstun.demo.v1.Hub/Echo`, `call -d '{"odd":1}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -d '{"name":"a"}{"name":"b"}' ADDR wstun.demo.v1.Hub/CreateKey`, `call -d '{"name":"a"}{"name":"b"}' TARGET wstun.demo.v1.Hub/CreateKey`, ""},
	{"-plaintext -protoset hub.protoset -proto commands/demo/hub.proto list", "list --protoset hub.protoset --proto commands/demo/hub.proto", ""},
	{"-plaintext -protoset missing ADDR list", "list --protoset missing TARGET", ""},
	{"-plaintext ADDR", "call TARGET", ""},
	{"list", "list", ""},
	{"-plaintext -expand-headers -H 'x: ${MISSING}' ADDR list", "list --expand-headers --reflect-header 'x: ${MISSING}' TARGET", ""},
}

// What only a plain server has: grpcurl's -H, TLS. DEAD is an address where nobody
// listens.
var plainComparisons = []comparison{
	{"-plaintext -v -H x-one:1 -H x-two:2 ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v -H x-one:1 -H x-two:2 TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -H x-deny:1 ADDR list", "list -H x-deny:1 TARGET", ""},
	{"-plaintext -unix SOCKET list", "list unix:SOCKET", ""},
	{"-plaintext -connect-timeout 1 DEAD list", "list --connect-timeout 1s DEAD", ""},
	{"-connect-timeout 1 ADDR list", "list --tls TARGET", ""},
}

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
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	addr := serveEverything(t, filepath.Join(dir, "sink.proto"), socket)
	tunnel := strings.TrimSpace(stay(t, "exec wstun serve --accept 127.0.0.1:0 --raw --upstream "+addr))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	run := func(t *testing.T, program, args, target, stdin string) (string, int) {
		t.Helper()
		args = strings.NewReplacer("TARGET", target, "ADDR", addr, "ROOT", root, "SOCKET", socket, "DEAD", dead.Addr().String()).Replace(args)
		cmd := exec.CommandContext(t.Context(), program, words(args)...)
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
		t.Logf("%s %s: status %d\n%s", filepath.Base(program), args, cmd.ProcessState.ExitCode(), &stderr)
		return stdout.String(), cmd.ProcessState.ExitCode()
	}
	run(t, grpcurl, "-plaintext -protoset-out hub.protoset ADDR describe wstun.demo.v1.Hub", "", "")
	compare := func(c comparison, targets ...string) {
		t.Run(c.wstun, func(t *testing.T) {
			t.Parallel()
			want, wantStatus := run(t, grpcurl, c.grpcurl, "", c.stdin)
			for _, target := range targets {
				got, status := run(t, wstun, c.wstun, target, c.stdin)
				if lasting(got) != lasting(want) {
					t.Errorf("stdout\n%s\ngrpcurl's\n%s", got, want)
				}
				if class(status) != class(wantStatus) {
					t.Errorf("status %d, grpcurl's %d", status, wantStatus)
				}
			}
		})
	}
	for _, c := range comparisons {
		compare(c, tunnel, addr)
	}
	for _, c := range plainComparisons {
		compare(c, addr)
	}
	t.Run("exports", func(t *testing.T) {
		t.Parallel()
		for i, args := range []string{"ADDR describe wstun.demo.v1.Hub", "ADDR list", "ADDR list sink.Sink", "ADDR describe sink.All"} {
			out := fmt.Sprintf("%s-%d", "out", i)
			run(t, grpcurl, fmt.Sprintf("-plaintext -proto-out-dir %s.g -protoset-out %s.g.protoset %s", out, out, args), "", "")
			verb, rest, _ := strings.Cut(strings.TrimPrefix(args, "ADDR "), " ")
			run(t, wstun, fmt.Sprintf("%s --proto-out-dir %s.w --protoset-out %s.w.protoset TARGET %s", verb, out, out, rest), tunnel, "")
			sameFiles(t, filepath.Join(dir, out+".w"), filepath.Join(dir, out+".g"))
			sameProtoset(t, filepath.Join(dir, out+".w.protoset"), filepath.Join(dir, out+".g.protoset"))
		}
	})
}

// serveEverything serves the demo Hub and the service Sink, which answers with the message
// it is sent, and returns the address. It also listens at a unix socket. What calls
// came with goes back in their headers.
func serveEverything(t *testing.T, sink, socket string) string {
	t.Helper()
	set, err := reflection.LoadProtos([]string{sink}, []string{filepath.Dir(sink)})
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
			m := new(descriptorpb.UninterpretedOption_NamePart) // all fields unknown, but for those of other types
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
	go func() { _ = s.Serve(l) }()
	go func() { _ = s.Serve(unix) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
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

// class is what a script tells exit statuses apart by.
func class(status int) string {
	switch {
	case status == 0:
		return "success"
	case status > 64:
		return fmt.Sprintf("status of the call: %d", status-64)
	}
	return "failure"
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
