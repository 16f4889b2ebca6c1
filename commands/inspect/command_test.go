package inspect

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// tools returns the directories of grpcurl and wstun, as a PATH.
func tools(t *testing.T) string {
	t.Helper()
	grpcurl, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "grpcurl").Output()
	if err != nil {
		t.Fatalf("go tool -n grpcurl: %v", err)
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "github.com/wstun/wstun")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Dir(strings.TrimSpace(string(grpcurl))) + ":" + dir
}

// sh runs a command in a shell.
func sh(t *testing.T, path, command string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", command)
	c.Env = append(os.Environ(), "PATH="+path, "HOME="+t.TempDir())
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if entries, _ := os.ReadDir(c.Dir); len(entries) > 0 {
		t.Errorf("%s made files", command)
	}
	return string(out)
}

// The commands that are copied make the same calls again.
func TestCommands(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds programs")
	}
	path := tools(t)
	e := newEnv(t, 1, Options{})
	e.opts.Target = e.address
	text := "it's $(touch pwned) `touch pwned` \"x\" \\ \n; touch pwned # \u202e"
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-nasty", "a'b $(touch pwned)", "authorization", "Bearer topsecret", "x-data-bin", "\x01\x02"))
	ctx, cancel := context.WithTimeout(ctx, tunneltest.Patience)
	defer cancel()
	stream, err := e.clients[0].Echo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{text, "two"} {
		if err := stream.Send(&demo.EchoRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	_ = stream.CloseSend()
	_, _ = stream.Recv()
	id := e.await(ended("Echo"))
	for _, as := range []string{"grpcurl", "wstun"} {
		command := e.get(callPath(id, "/command?as="+as))
		if strings.Contains(command, "topsecret") || !strings.Contains(command, "# left out because it is secret: authorization\n") {
			t.Errorf("the command is %s", command)
		}
		if i := strings.IndexFunc(command, func(c rune) bool { return c < ' ' && c != '\n' || c == '\u202e' || c == 0x7f }); i >= 0 || strings.HasSuffix(command, "\n") {
			t.Errorf("control characters in %q", command)
		}
		if as == "grpcurl" {
			command = strings.Replace(command, "grpcurl ", "grpcurl -import-path "+absolute(t, "../..")+" -proto commands/demo/hub.proto ", 1)
		} else {
			command = strings.Replace(command, "wstun call ", "wstun call --import-path "+absolute(t, "../..")+" --proto commands/demo/hub.proto ", 1)
		}
		out := sh(t, path+":/usr/bin:/bin", command)
		if !strings.Contains(out, `it's $(touch pwned)`) || !strings.Contains(out, `two`) {
			t.Errorf("%s\nprinted %s", command, out)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Without an address, with secrets in the request, and for calls that can't be made again.
func TestCommandText(t *testing.T) {
	t.Parallel()
	h := New(&Options{Catalog: hubCatalog(t)})
	defer h.Close()
	request := func(m proto.Message) (data []byte) {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	calls := uint64(0)
	add := func(method string, data []byte, size int64, fields ...hpack.HeaderField) uint64 {
		calls++
		h.Store().Event(&trace.Event{Type: trace.ClientHeader, Call: calls, Method: method, Metadata: fields, Time: time.Now(), Timeout: 2 * time.Second})
		h.Store().Event(&trace.Event{Type: trace.ClientMessage, Call: calls, Method: method, Data: data, Size: size, Time: time.Now()})
		return calls
	}
	create := request(&demo.CreateKeyRequest{Name: "a"})
	for _, test := range []struct {
		id            uint64
		as, want, err string
	}{
		{add(hub+"CreateKey", create, 3), "wstun", "# put the URL of the session here\nwstun call --max-time 2 -d '{\"name\":\"a\"}' ws://127.0.0.1:7070/ wstun.demo.v1.Hub/CreateKey", ""},
		{1, "grpcurl", "# wstun dial URL makes the server available at this address\ngrpcurl -plaintext -max-time 2 -d '{\"name\":\"a\"}' 127.0.0.1:50051 wstun.demo.v1.Hub/CreateKey", ""},
		{add(hub+"CreateKey", create, 9), "wstun", "", "whole"},
		{add(hub+"CreateKey", []byte("\x50\x01"), 2), "wstun", "", "aren't in its type"},
		{add(hub+"CreateKey", []byte("\x0a\x02a\xff"), 4), "wstun", "", "isn't UTF-8"},
		{add("/other.Hub/CreateKey", create, 3), "wstun", "", "isn't known"},
		{add("/--help/x", create, 3), "wstun", "", "no name"},
		{
			add(hub+"CreateKey", create, 3, hpack.HeaderField{Name: "user-agent", Value: "x"}, hpack.HeaderField{Name: "grpc-timeout", Value: "1S"}, hpack.HeaderField{Name: "x", Value: "\x1b"}), "wstun",
			"# put the URL of the session here\n# left out because a command can't have its value: x\nwstun call --max-time 2 -d '{\"name\":\"a\"}' ws://127.0.0.1:7070/ wstun.demo.v1.Hub/CreateKey", "",
		},
		{add(hub+"CreateKey", request(&demo.CreateKeyRequest{Name: strings.Repeat("x", maxCommand)}), maxCommand+4), "wstun", "", "too long"},
	} {
		got, err := h.commandFor(t.Context(), h.Store().Call(test.id), test.as)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("call %d as %s: %q, %v; want %q, %q", test.id, test.as, got, err, test.want, test.err)
		}
	}
	secrets := &escape.Secrets{}
	secrets.Add("pa55word")
	h.opts.Secrets, h.opts.Target = secrets, "ws://u:pa55word@h/"
	h.opts.Role, h.opts.Addresses = "dial", func() []string { return []string{"unix:/run/s", "127.0.0.1:4000"} }
	for as, want := range map[string]string{
		"wstun":   "# left out because it is secret: a part of the URL\nwstun call --max-time 2 -d '{\"name\":\"a\"}' 'ws://u:***@h/' wstun.demo.v1.Hub/CreateKey",
		"grpcurl": "grpcurl -plaintext -max-time 2 -d '{\"name\":\"a\"}' 127.0.0.1:4000 wstun.demo.v1.Hub/CreateKey",
	} {
		if got, err := h.commandFor(t.Context(), h.Store().Call(1), as); got != want || err != nil {
			t.Errorf("of dial as %s: %q, %v; want %q", as, got, err, want)
		}
	}
	if got := withoutRedacted(`{"a":"[redacted]","b":[{"c":"[redacted]","d":12345678901234567890}],"e":"<"}`); got != `{"b":[{"d":12345678901234567890}],"e":"<"}` {
		t.Errorf("without secrets: %s", got)
	}
}
