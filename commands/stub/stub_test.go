package stub_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health/grpc_health_v1" // for its descriptors
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a stub in memory until the test ends.
func serve(t *testing.T, text string, files *protoregistry.Files) (*stub.Stub, *grpc.Server, *grpc.ClientConn) {
	t.Helper()
	answers, err := stub.Parse("stub.yaml", []byte(text), files)
	if err != nil {
		t.Fatal(err)
	}
	server, conn := serveStub(t, answers)
	return answers, server, conn
}

func serveStub(t *testing.T, answers *stub.Stub) (*grpc.Server, *grpc.ClientConn) {
	t.Helper()
	server, listener := grpc.NewServer(answers.ServerOption()), bufconn.Listen(64<<10)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(server.Stop)

	conn, err := grpc.NewClient("passthrough:///stub",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return server, conn
}

// hub serves the rules of one method of the demo Hub.
func hub(t *testing.T, method, rules string) (*stub.Stub, demo.HubClient) {
	t.Helper()
	text := "methods:\n  wstun.demo.v1.Hub/" + method + ":\n" + rules
	answers, _, conn := serve(t, text, protoregistry.GlobalFiles)
	return answers, demo.NewHubClient(conn)
}

func wantStatus(t *testing.T, subject string, err error, code codes.Code, message string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || s.Message() != message {
		t.Errorf("%s = %v %q, want %v %q", subject, s.Code(), s.Message(), code, message)
	}
}

func wantMessage(t *testing.T, subject string, got proto.Message, err error, want proto.Message) {
	t.Helper()
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("%s = %v, %v, want %v", subject, got, err, want)
	}
}

func wantMetadata(t *testing.T, subject string, md metadata.MD, name string, want ...string) {
	t.Helper()
	if got := md.Get(name); !slices.Equal(got, want) {
		t.Errorf("%s: %s = %q, want %q", subject, name, got, want)
	}
}

func TestUnary(t *testing.T) {
	t.Parallel()
	_, client := hub(t, "CreateKey", `
    - when: {name: taken}
      headers: {x-asked: for}
      error:
        code: ALREADY_EXISTS
        message: key "taken" already exists
        details:
          - {'@type': type.googleapis.com/google.rpc.ResourceInfo, resourceType: key}
          - {'@type': wstun.demo.v1.Key, name: taken}
      trailers: {x-cost: 1}
    - when: {name: k1}
      headers: {X-Served-By: stub, x-two: [a, 2], x-data-bin: AAH/, x-padded-bin: 'AA=='}
      reply: {name: k1, secret: s, createTime: 2026-01-02T03:04:05Z}
      trailers: {x-cost: "3", x-end-bin: [/w, AQ]}
`)
	var header, trailer metadata.MD
	key, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "k1"}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || key.Name != "k1" || key.Secret != "s" || key.CreateTime.GetSeconds() != 1767323045 {
		t.Errorf("CreateKey = %v, %v", key, err)
	}
	wantMetadata(t, "headers", header, "x-served-by", "stub")
	wantMetadata(t, "headers", header, "x-two", "a", "2")
	wantMetadata(t, "headers", header, "x-data-bin", "\x00\x01\xff")
	wantMetadata(t, "headers", header, "x-padded-bin", "\x00")
	wantMetadata(t, "headers", header, "x-cost")
	wantMetadata(t, "trailers", trailer, "x-cost", "3")
	wantMetadata(t, "trailers", trailer, "x-end-bin", "\xff", "\x01")

	_, err = client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "taken"}, grpc.Header(&header), grpc.Trailer(&trailer))
	wantStatus(t, "CreateKey", err, codes.AlreadyExists, `key "taken" already exists`)
	wantMetadata(t, "headers", header, "x-asked", "for")
	wantMetadata(t, "trailers", trailer, "x-cost", "1")
	details := status.Convert(err).Details()
	if len(details) != 2 {
		t.Fatalf("details = %v, want two", details)
	}
	for i, want := range []proto.Message{&errdetails.ResourceInfo{ResourceType: "key"}, &demo.Key{Name: "taken"}} {
		if got, ok := details[i].(proto.Message); !ok || !proto.Equal(got, want) {
			t.Errorf("detail %d = %v, want %v", i, details[i], want)
		}
	}

	_, err = client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "other"})
	wantStatus(t, "CreateKey", err, codes.Unimplemented, "stub: no rule for /wstun.demo.v1.Hub/CreateKey matches the request")
}

// TestConcurrent uses the same rules in concurrent calls, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	_, client := hub(t, "CreateKey", `
    - when: {name: bad}
      error: {code: 9, details: [{'@type': google.rpc.ErrorInfo, reason: R}]}
    - {headers: {a: b}, reply: {name: k}, trailers: {c: d}}
`)
	var calls sync.WaitGroup
	for i := range 32 {
		calls.Go(func() {
			if i%2 == 0 {
				_, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "bad"})
				wantStatus(t, "CreateKey", err, codes.FailedPrecondition, "")
				return
			}
			key, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{})
			wantMessage(t, "CreateKey", key, err, &demo.Key{Name: "k"})
		})
	}
	calls.Wait()
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	_, _, conn := serve(t, "methods: {/wstun.demo.v1.Hub.DeleteKey: {reply: {}}}", protoregistry.GlobalFiles)
	for method, want := range map[string]string{
		"/wstun.demo.v1.Hub/CreateKey": "stub: no answer for /wstun.demo.v1.Hub/CreateKey",
		"/wstun.demo.v1.Hub/Create":    "stub: unknown method Create for service wstun.demo.v1.Hub",
		"/wstun.demo.v1.Key/Create":    "stub: unknown service wstun.demo.v1.Key",
		"/no.Service/Create":           "stub: unknown service no.Service",
		"//Create":                     "stub: unknown service ",
	} {
		err := conn.Invoke(t.Context(), method, &demo.CreateKeyRequest{}, &demo.Key{})
		wantStatus(t, method, err, codes.Unimplemented, want)
	}
	if err := conn.Invoke(t.Context(), "/wstun.demo.v1.Hub/DeleteKey", &demo.DeleteKeyRequest{}, &demo.Key{}); err != nil {
		t.Errorf("DeleteKey = %v", err)
	}
}

// TestNoRequest calls a unary method without sending anything.
func TestNoRequest(t *testing.T) {
	t.Parallel()
	_, _, conn := serve(t, "methods: {wstun.demo.v1.Hub.DeleteKey: {reply: {}}}", protoregistry.GlobalFiles)
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(t.Context(), desc, "/wstun.demo.v1.Hub/DeleteKey")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "RecvMsg", stream.RecvMsg(&demo.Key{}), codes.Internal,
		"stub: call to /wstun.demo.v1.Hub/DeleteKey without a request")
}

func TestServerStreaming(t *testing.T) {
	t.Parallel()
	_, client := hub(t, "WatchKeys", `
    - when: {max_events: 1}
      reply: {snapshot: {}}
    - when: {maxEvents: 2}
      stream:
        - reply: {snapshot: {keys: [&a {name: a}]}}
        - reply: {created: {<<: *a, secret: s}}
      error: {code: unavailable, message: gone}
      trailers: {x-why: test}
    - when: {maxEvents: 3}
      stream: []
`)
	a := &demo.Key{Name: "a"}
	snapshot := func(keys ...*demo.Key) *demo.KeyEvent {
		return &demo.KeyEvent{Event: &demo.KeyEvent_Snapshot{Snapshot: &demo.KeySnapshot{Keys: keys}}}
	}
	for _, tt := range []struct {
		max     uint32
		want    []*demo.KeyEvent
		code    codes.Code
		message string
	}{
		{1, []*demo.KeyEvent{snapshot()}, codes.OK, ""},
		{2, []*demo.KeyEvent{
			snapshot(a),
			{Event: &demo.KeyEvent_Created{Created: &demo.Key{Name: "a", Secret: "s"}}},
		}, codes.Unavailable, "gone"},
		{3, nil, codes.OK, ""},
		{4, nil, codes.Unimplemented, "stub: no rule for /wstun.demo.v1.Hub/WatchKeys matches the request"},
	} {
		stream, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{MaxEvents: tt.max})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			event, err := stream.Recv()
			wantMessage(t, "Recv", event, err, want)
		}
		_, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		wantStatus(t, "Recv", err, tt.code, tt.message)
		if tt.max == 2 {
			wantMetadata(t, "trailers", stream.Trailer(), "x-why", "test")
		}
	}
}

func TestClientStreaming(t *testing.T) {
	t.Parallel()
	_, client := hub(t, "Sum", `
    - when: {value: 0}
      reply: {sum: 100}
    - when: {value: 2}
      reply: {sum: "9007199254740993", count: 2}
    - when: {value: 3}
      error: {code: OUT_OF_RANGE, message: too much}
`)
	for _, tt := range []struct {
		values  []int64
		want    *demo.SumResponse
		code    codes.Code
		message string
	}{
		{[]int64{3, 2}, &demo.SumResponse{Sum: 9007199254740993, Count: 2}, codes.OK, ""},
		{[]int64{2, 3}, nil, codes.OutOfRange, "too much"},
		{[]int64{2, 0}, &demo.SumResponse{Sum: 100}, codes.OK, ""},
		{[]int64{4}, nil, codes.Unimplemented, "stub: no rule for /wstun.demo.v1.Hub/Sum matches the request"},
		{nil, nil, codes.Unimplemented, "stub: no rule for /wstun.demo.v1.Hub/Sum matches a call without requests"},
	} {
		stream, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range tt.values {
			if err := stream.Send(&demo.SumRequest{Value: v}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := stream.CloseAndRecv()
		if tt.code != codes.OK {
			wantStatus(t, "CloseAndRecv", err, tt.code, tt.message)
			continue
		}
		wantMessage(t, "CloseAndRecv", got, err, tt.want)
	}

	_, client = hub(t, "Sum", "    reply: {sum: 1}")
	stream, err := client.Sum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := stream.CloseAndRecv()
	wantMessage(t, "CloseAndRecv without requests", got, err, &demo.SumResponse{Sum: 1})
}

func TestBidirectional(t *testing.T) {
	t.Parallel()
	_, client := hub(t, "Echo", `
    - when: {text: hello}
      headers: {x-first: hello}
      reply: {text: hi}
      trailers: {x-last: hello}
    - when: {text: twice}
      headers: {x-first: twice}
      stream: [{reply: {text: a, count: 1}}, {reply: {text: b, count: 2}}]
      trailers: {x-last: twice}
    - when: {text: quiet}
      stream: []
    - when: {text: stop}
      stream: [{reply: {text: bye}}]
      error: {code: 10, message: stopped}
`)
	stream, err := client.Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(text string, replies ...string) {
		t.Helper()
		if err := stream.Send(&demo.EchoRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		for _, want := range replies {
			if got, err := stream.Recv(); err != nil || got.Text != want {
				t.Errorf("reply to %q = %v, %v, want %q", text, got, err, want)
			}
		}
	}
	exchange("hello", "hi")
	exchange("quiet")
	exchange("hello", "hi")
	exchange("twice", "a", "b")
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Recv after half-close = %v, want EOF", err)
	}
	if header, err := stream.Header(); err != nil || strings.Join(header.Get("x-first"), " ") != "hello" {
		t.Errorf("Header = %v, %v", header, err)
	}
	wantMetadata(t, "trailers", stream.Trailer(), "x-last", "twice")

	stream, err = client.Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exchange("stop", "bye")
	_, err = stream.Recv()
	wantStatus(t, "Recv", err, codes.Aborted, "stopped")

	stream, err = client.Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exchange("unmatched")
	_, err = stream.Recv()
	wantStatus(t, "Recv", err, codes.Unimplemented, "stub: no rule for /wstun.demo.v1.Hub/Echo matches the request")
}

// TestDocumentation parses the example in the package's documentation.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("stub.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(source), "//\tmethods:\n")
	text, _, ok := strings.Cut(text, "\n// A rule has these keys")
	if !ok {
		t.Fatal("the documentation has no example")
	}
	text = strings.NewReplacer("//\t", "", "//\n", "\n").Replace("methods:\n" + text + "\n")
	answers, _, conn := serve(t, text, protoregistry.GlobalFiles)
	if got, want := answers.Services(), []string{"wstun.demo.v1.Hub"}; !slices.Equal(got, want) {
		t.Errorf("Services = %q, want %q", got, want)
	}
	_, err = demo.NewHubClient(conn).CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "taken"})
	wantStatus(t, "CreateKey", err, codes.AlreadyExists, `key "taken" already exists`)
}

func TestServices(t *testing.T) {
	t.Parallel()
	answers, err := stub.Parse("f", []byte(`
methods:
  wstun.demo.v1.Hub/CreateKey: {reply: {}}
  wstun.demo.v1.Hub/DeleteKey: {reply: {}}
  grpc.health.v1.Health/Check: {reply: {status: SERVING}}
`), protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := answers.Services(), []string{"grpc.health.v1.Health", "wstun.demo.v1.Hub"}; !slices.Equal(got, want) {
		t.Errorf("Services = %q, want %q", got, want)
	}
}
