//go:build unix

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// hubCases are the tests of the demo service that the clients in
// testdata/interop run, and goHubClient, too.
var hubCases = []string{
	"unary", "details", "client_stream", "server_stream", "bidi_stream", "early_end",
	"large", "deadline", "cancel", "gzip", "metadata",
}

// language has the commands of the programs in testdata/interop in another language.
type language struct{ client, server, status []string }

// node returns the programs with Node's @grpc/grpc-js, or skips t if that isn't installed.
func node(t *testing.T) *language {
	t.Helper()
	dir := filepath.Join("testdata", "interop", "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Skipf("gRPC for Node is not installed: npm ci in %s installs it", dir)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node is not installed: ", err)
	}
	command := func(name string) []string { return []string{node, filepath.Join(dir, name)} }
	return &language{command("client.js"), command("server.js"), command("status.js")}
}

// python returns the programs with Python's grpcio, which wraps gRPC's C++ library, or skips t
// if that isn't installed.
func python(t *testing.T) *language {
	t.Helper()
	dir := filepath.Join("testdata", "interop", "python")
	for _, python := range []string{"python3", "/usr/bin/python3"} { // the latter has the distribution's packages
		if exec.CommandContext(t.Context(), python, "-c", "import grpc, google.protobuf").Run() != nil {
			continue
		}
		protoset := hubProtoset(t)
		command := func(name string) []string {
			return []string{"env", "PYTHONDONTWRITEBYTECODE=1", "HUB_PROTOSET=" + protoset, python, filepath.Join(dir, name)}
		}
		return &language{command("client.py"), command("server.py"), command("status.py")}
	}
	t.Skip("gRPC for Python is not installed: it needs the packages grpcio and protobuf (on Debian python3-grpcio)")
	return nil
}

// TestNode tests a client and a server of Node's @grpc/grpc-js.
func TestNode(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	testLanguage(t, node(t))
}

// TestPython tests a client and a server of Python's grpcio.
func TestPython(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	testLanguage(t, python(t))
}

// testLanguage runs the client of another language against the demo Hub and against the server, and
// a client in Go against the server. It tests traces of its calls, and unusual responses, too.
func testLanguage(t *testing.T, l *language) {
	t.Helper()
	testOddResponses(t, l.status)
	testTrace(t, l)
	for _, r := range routes {
		t.Run("Hub, "+r.name, func(t *testing.T) {
			t.Parallel()
			runHubClient(t, l.client, r.open(t, startHub(t)), hubCases[:len(hubCases)-1]) // all but metadata, which the Hub doesn't echo
		})
		t.Run("server, "+r.name, func(t *testing.T) {
			t.Parallel()
			s := startDaemon(t, l.server[0], l.server[1:]...)
			addr := r.open(t, s.find(t, `^127\.0\.0\.1:\d+$`))
			t.Run("own client", func(t *testing.T) { runHubClient(t, l.client, addr, hubCases) })
			t.Run("Go client", func(t *testing.T) { goHubClient(t, addr, hubCases) })
			// The server sees the deadline and the cancellation of both clients.
			s.find(t, `(?s)(given up: Sleep.*){2}`)
			s.find(t, `(?s)(given up: WatchKeys.*){2}`)
		})
	}
}

// startHub serves the demo Hub without a tunnel.
func startHub(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(wsmux.ServerOptions()...)
	demo.New().Register(s)
	t.Cleanup(s.Stop)
	go func() { _ = s.Serve(l) }() // ends with the server
	return l.Addr().String()
}

func runHubClient(t *testing.T, client []string, addr string, cases []string) {
	t.Helper()
	startHubClient(t, client, addr, cases)()
}

// startHubClient starts a client. The result waits for its end, and expects that all cases
// succeed.
func startHubClient(t *testing.T, client []string, addr string, cases []string) (wait func()) {
	t.Helper()
	c := startDaemon(t, client[0], append(append(client[1:len(client):len(client)], addr), cases...)...)
	return func() {
		t.Helper()
		_, err := c.exitStatus()
		if want := "ok " + strings.Join(cases, "\nok ") + "\n"; err != nil || c.String() != want {
			t.Errorf("%v; it prints\n%swant\n%s", err, c, want)
		}
	}
}

// hubProtoset writes the descriptors of the demo service and of error details
// to a file.
func hubProtoset(t *testing.T) string {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	add(demo.File_commands_demo_hub_proto)
	add(status.File_google_rpc_status_proto)
	add(errdetails.File_google_rpc_error_details_proto)
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hub.protoset")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
