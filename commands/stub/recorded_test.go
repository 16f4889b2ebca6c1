package stub_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/stub"
	"github.com/wstun/wstun/tunnel/trace"
)

func wantSecret(t *testing.T, client demo.HubClient, name, want string) {
	t.Helper()
	got, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: name})
	if err != nil || got.GetSecret() != want {
		t.Errorf("CreateKey %q = %q, %v, want %q", name, got.GetSecret(), err, want)
	}
}

// Equal requests get their answers in the recorded order, and the last one again.
func TestRecordedOrder(t *testing.T) {
	t.Parallel()
	tp := newTape()
	for _, secret := range []string{"1", "2", "3"} {
		tp.unary("CreateKey", &demo.CreateKeyRequest{Name: "a"}, &demo.Key{Secret: secret})
		tp.unary("CreateKey", &demo.CreateKeyRequest{Name: "b"}, &demo.Key{Secret: "b" + secret})
	}
	_, client := tp.serve(t, false)
	for _, want := range []string{"1", "2", "3", "3", "3"} {
		wantSecret(t, client, "a", want)
	}
	wantSecret(t, client, "b", "b1")
}

// Concurrent calls get an answer each.
func TestRecordedConcurrent(t *testing.T) {
	t.Parallel()
	tp := newTape()
	var want []string
	for i := range 32 {
		want = append(want, fmt.Sprintf("%02d", i))
		tp.unary("CreateKey", &demo.CreateKeyRequest{}, &demo.Key{Secret: want[i]})
		tp.call("Sum").request(&demo.SumRequest{Value: 1}).halfClose().response(&demo.SumResponse{Sum: int64(i)}).ok()
	}
	_, client := tp.serve(t, false)
	var calls sync.WaitGroup
	var mu sync.Mutex
	var got []string
	var sum int64
	for range 32 {
		calls.Go(func() {
			answer, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{})
			if err != nil {
				t.Error(err)
			}
			stream, err := client.Sum(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			_ = stream.Send(&demo.SumRequest{Value: 1})
			total, err := stream.CloseAndRecv()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got, sum = append(got, answer.GetSecret()), sum+total.GetSum()
		})
	}
	calls.Wait()
	slices.Sort(got)
	if !slices.Equal(got, want) || sum != 31*32/2 {
		t.Errorf("answers %q, sum %d", got, sum)
	}
}

func TestRecordedStatus(t *testing.T) {
	t.Parallel()
	tp := newTape()
	failure, err := status.New(codes.AlreadyExists, "key \"a\" already exists\n").WithDetails(&errdetails.ResourceInfo{ResourceType: "key"})
	if err != nil {
		t.Fatal(err)
	}
	tp.call("CreateKey").request(&demo.CreateKeyRequest{Name: "a"}).halfClose().end(failure, "x-cost", "3", "grpc-status", "6", "x-token", trace.Redacted)
	tp.call("CreateKey").request(&demo.CreateKeyRequest{Name: "b"}).halfClose().
		header("content-type", "application/grpc", "x-two", "1", "x-two", "2", "x-data-bin", bin("\x00\xff"), "grpc-encoding", "gzip", "x-odd", "\u2028", "x-odd-bin", "?").
		response(key("b")).end(status.New(codes.OK, ""), "x-end-bin", bin("\x01"))
	_, client := tp.serve(t, false)

	var header, trailer metadata.MD
	_, err = client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "a"}, grpc.Trailer(&trailer))
	wantStatus(t, "CreateKey", err, codes.AlreadyExists, failure.Message())
	if got := status.Convert(err).Details(); len(got) != 1 || !proto.Equal(got[0].(proto.Message), &errdetails.ResourceInfo{ResourceType: "key"}) {
		t.Errorf("details = %v", got)
	}
	wantMetadata(t, "trailers", trailer, "x-cost", "3")
	wantMetadata(t, "trailers", trailer, "x-token")

	got, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "b"}, grpc.Header(&header), grpc.Trailer(&trailer))
	wantMessage(t, "CreateKey", got, err, key("b"))
	wantMetadata(t, "headers", header, "x-two", "1", "2")
	wantMetadata(t, "headers", header, "x-data-bin", "\x00\xff")
	wantMetadata(t, "headers", header, "x-odd")
	wantMetadata(t, "headers", header, "x-odd-bin")
	wantMetadata(t, "trailers", trailer, "x-end-bin", "\x01")
}

// TestRecordedMiss makes calls that aren't recorded.
func TestRecordedMiss(t *testing.T) {
	t.Parallel()
	tp := newTape()
	tp.unary("DeleteKey", &demo.DeleteKeyRequest{Name: "far"}, &emptypb.Empty{})
	tp.call("WatchKeys").request(&demo.WatchKeysRequest{MaxEvents: 1, Tick: &durationpb.Duration{Seconds: 1}})
	tp.call("WatchKeys").request(&demo.WatchKeysRequest{MaxEvents: 7})
	tp.call("Sum").request(&demo.SumRequest{Value: 1}).request(&demo.SumRequest{Value: 2}).halfClose().ok()
	_, client := tp.serve(t, false)

	_, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{})
	wantStatus(t, "CreateKey", err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/CreateKey")
	_, err = client.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: "\x1b" + strings.Repeat("x", 300)})
	wantStatus(t, "DeleteKey", err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/DeleteKey has this request; "+
		`the nearest, call #1, differs in name ("far", not "\x1b`+strings.Repeat("x", 199)+`…")`)

	for want, req := range map[string]*demo.WatchKeysRequest{
		`#3, differs in max_events (7, not 8)`:                          {MaxEvents: 8},
		`#2, differs in tick.seconds (1, not 2)`:                        {MaxEvents: 1, Tick: &durationpb.Duration{Seconds: 2}},
		`#2, differs in tick (set, not unset)`:                          {MaxEvents: 1},
		`#2, differs in max_events (1, not 0), tick.seconds (1, not 0)`: {Tick: &durationpb.Duration{}},
	} {
		stream, err := client.WatchKeys(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantStatus(t, "WatchKeys", err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/WatchKeys has this request; the nearest, call "+want)
	}
	for want, values := range map[string][]int64{
		"has this request 1 after the others; the nearest, call #4, differs in value (1, not 2)":  {2},
		"has this request 2 after the others; the nearest, call #4, differs in value (2, not -1)": {1, -1},
		"has this request 3 after the others; call #4 has 2 requests":                             {1, 2, 3},
		"ends after request 1; call #4 has 2 requests":                                            {1},
		"ends after request 0; call #4 has 2 requests":                                            {},
	} {
		stream, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			_ = stream.Send(&demo.SumRequest{Value: v})
		}
		_, err = stream.CloseAndRecv()
		wantStatus(t, "Sum", err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/Sum "+want)
	}
}

// Redacted fields of requests match any value.
func TestRecordedRedacted(t *testing.T) {
	t.Parallel()
	tp := newTape()
	tp.call("DeleteKey").request(&demo.DeleteKeyRequest{Name: trace.Redacted}, "name").response(&emptypb.Empty{}).end(status.New(codes.NotFound, "first"))
	tp.call("DeleteKey").request(&demo.DeleteKeyRequest{Name: "a"}).end(status.New(codes.NotFound, "second"))
	tick := &demo.WatchKeysRequest{MaxEvents: 1, Tick: &durationpb.Duration{Nanos: 1}}
	tp.call("WatchKeys").request(tick, "tick.seconds", "tick.@rest").ok()
	_, client := tp.serve(t, false)
	for _, want := range [][2]string{{"b", "first"}, {"a", "second"}, {"a", "second"}, {"", "first"}} {
		_, err := client.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: want[0]})
		wantStatus(t, "DeleteKey "+want[0], err, codes.NotFound, want[1])
	}
	for _, req := range []*demo.WatchKeysRequest{{MaxEvents: 1, Tick: &durationpb.Duration{Seconds: 5, Nanos: 2}}, {MaxEvents: 1}} {
		stream, err := client.WatchKeys(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("WatchKeys = %v", err)
		}
	}
}

// Unknown fields count, and may be redacted, too.
func TestRecordedUnknown(t *testing.T) {
	t.Parallel()
	extended := func(name, unknown string) *demo.CreateKeyRequest {
		m := &demo.CreateKeyRequest{Name: name}
		m.ProtoReflect().SetUnknown([]byte("\x7a\x01" + unknown))
		return m
	}
	tp := newTape()
	tp.unary("CreateKey", extended("a", "1"), key("1"))
	tp.unary("CreateKey", extended("a", "2"), key("2"))
	tp.call("CreateKey").request(&demo.CreateKeyRequest{Name: "b"}, "+15").halfClose().response(key("3")).ok()
	_, client := tp.serve(t, false)
	for unknown, want := range map[*demo.CreateKeyRequest]string{extended("a", "2"): "2", extended("a", "1"): "1", extended("b", "3"): "3"} {
		got, err := client.CreateKey(t.Context(), unknown)
		wantMessage(t, "CreateKey", got, err, key(want))
	}
	_, err := client.CreateKey(t.Context(), extended("a", "3"))
	wantStatus(t, "CreateKey", err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/CreateKey has this request; the nearest, call #1, differs in unknown fields")
}

// A bidirectional call follows the recorded one message by message, and changes over to
// another with the same requests so far.
func TestRecordedBidi(t *testing.T) {
	t.Parallel()
	text := func(s string) *demo.EchoRequest { return &demo.EchoRequest{Text: s} }
	answer := func(s string) *demo.EchoResponse { return &demo.EchoResponse{Text: s} }
	tp := newTape()
	tp.call("Echo").header("x-call", "1").request(text("a")).response(answer("1a")).request(text("b")).halfClose().response(answer("1b")).ok()
	tp.call("Echo").header("x-call", "2").request(text("a")).response(answer("2a")).response(answer("2a+")).request(text("c")).response(answer("2c")).end(status.New(codes.Aborted, "enough"))
	tp.call("Echo").header("x-call", "3").request(text("a")).response(answer("3a")).request(text("b")).halfClose().response(answer("3b")).ok()
	_, client := tp.serve(t, false)

	// run sends requests, the last one with a half-close, and returns the responses.
	run := func(requests ...string) (responses []string, err error) {
		stream, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil { // without a request
			t.Fatal(err)
		}
		for i, r := range requests {
			_ = stream.Send(text(r))
			if i == len(requests)-1 {
				break
			}
			got, err := stream.Recv()
			if err != nil {
				return responses, err
			}
			responses = append(responses, got.GetText())
		}
		_ = stream.CloseSend()
		for {
			got, err := stream.Recv()
			if err != nil {
				return responses, err
			}
			responses = append(responses, got.GetText())
		}
	}
	check := func(got []string, err error, code codes.Code, message string, want ...string) {
		t.Helper()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		wantStatus(t, "Echo", err, code, message)
		if !slices.Equal(got, want) {
			t.Errorf("responses %q, want %q", got, want)
		}
	}
	got, err := run("a", "b")
	check(got, err, codes.OK, "", "1a", "1b")
	got, err = run("a", "b") // begins as the second call, which can still answer later
	check(got, err, codes.OK, "", "2a", "2a+", "3b")
	got, err = run("a", "c")
	check(got, err, codes.Aborted, "enough", "2a", "2a+", "2c")
	got, err = run("a", "b")
	check(got, err, codes.OK, "", "3a", "3b")
	got, err = run("a", "d")
	check(got, err, codes.Unimplemented, "stub: no recorded call of /wstun.demo.v1.Hub/Echo has this request 2 after the others; "+
		`the nearest, call #1, differs in text ("b", not "d")`, "3a")
}

// All requests of a client stream choose the call, unless its server ended it before.
func TestRecordedClientStream(t *testing.T) {
	t.Parallel()
	tp := newTape()
	for i, values := range [][]int64{{1, 2}, {1, 3}, {1, 2}, {}} {
		c := tp.call("Sum")
		for _, v := range values {
			c.request(&demo.SumRequest{Value: v})
		}
		c.halfClose().response(&demo.SumResponse{Sum: int64(i)}).ok()
	}
	tp.call("Sum").request(&demo.SumRequest{Value: -1}).end(status.New(codes.InvalidArgument, "negative"))
	_, client := tp.serve(t, false)
	sum := func(values ...int64) (*demo.SumResponse, error) {
		stream, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			_ = stream.Send(&demo.SumRequest{Value: v})
		}
		return stream.CloseAndRecv()
	}
	for _, call := range []struct {
		values []int64
		want   int64
	}{{[]int64{1, 2}, 0}, {[]int64{1, 2}, 2}, {[]int64{1, 3}, 1}, {nil, 3}} {
		got, err := sum(call.values...)
		wantMessage(t, "Sum", got, err, &demo.SumResponse{Sum: call.want})
	}
	_, err := sum(-1, 2, 3)
	wantStatus(t, "Sum", err, codes.InvalidArgument, "negative")
}

// Calls that can't answer are left out and counted; those of gRPC itself aren't counted.
func TestRecordedLeftOut(t *testing.T) {
	t.Parallel()
	cut := func(l *recording.Line) { l.Reason = "session lost" }
	tp := newTape()
	tp.unary("CreateKey", &demo.CreateKeyRequest{}, key("a"))
	tp.unary(grpc_health_v1.Health_Check_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{})
	tp.unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &emptypb.Empty{}, &emptypb.Empty{})
	for range 2 {
		tp.call("CreateKey").request(&demo.CreateKeyRequest{}).event(trace.Cut, cut)
	}
	tp.call("WatchKeys").request(&demo.WatchKeysRequest{}).event(trace.Cut, cut) // but this is usable
	tp.call("CreateKey").ok()
	tp.call("CreateKey").request(&demo.CreateKeyRequest{}, "@rest").ok()
	tp.call("CreateKey").event(trace.ClientMessage, func(l *recording.Line) { l.Data, l.Size = []byte("\xff"), new(int64(1)) }).ok()
	tp.call("CreateKey").event(trace.ClientMessage, func(l *recording.Line) { l.Data, l.Size, l.Truncated = []byte("x"), new(int64(2)), true }).ok()
	tp.call("CreateKey").event(trace.Cancel, func(l *recording.Line) { l.By, l.Code = "server", "REFUSED_STREAM" })
	tp.call("CreateKey").event(trace.ServerTrailer, func(l *recording.Line) { l.Source, l.Status = "wstun", &recording.Status{Code: 14} })
	tp.call("CreateKey").event(trace.ServerTrailer, func(l *recording.Line) { l.HTTP = "502" })
	late := tp.call("CreateKey")
	late.seq++
	late.ok()

	_, leftOut, err := tp.parse(true)
	const want = "2: it was cut; 1: a message isn't recorded as a whole; 1: a request doesn't have the method's type; " +
		"1: a request has lost more than known fields; 1: events are missing; 1: it doesn't have one request; " +
		"1: the response isn't gRPC; 1: the server reset it; 1: wstun answered it"
	if err != nil || leftOut.String() != want || leftOut.Calls() != 10 {
		t.Errorf("%v, left out %d: %s", err, leftOut.Calls(), leftOut)
	}
}

func TestRecordedErrors(t *testing.T) {
	t.Parallel()
	check := func(tp *tape, want string) {
		t.Helper()
		if _, _, err := tp.parse(true); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	tp := newTape()
	check(tp, "the recording has no calls")
	tp.call("CreateKey").ok()
	check(tp, "the recording has no call that can answer: 1: it doesn't have one request")
	tp.unary("/a.B/C", &emptypb.Empty{}, &emptypb.Empty{})
	tp.unary("CreateKey", &demo.CreateKeyRequest{}, key("a"))
	check(tp, `no descriptors for the recorded method "/a.B/C"`)
	tp.unary("Create", &emptypb.Empty{}, &emptypb.Empty{})
	check(tp, `no descriptors for the recorded method "/a.B/C" and another one`)
	tp.unary("", &emptypb.Empty{}, &emptypb.Empty{})
	check(tp, `no descriptors for the recorded method "/a.B/C" and 2 others`)
}

func FuzzRecording(f *testing.F) {
	tp := newTape()
	tp.call("Echo").header("x", "y").request(&demo.EchoRequest{Text: "a"}).response(&demo.EchoResponse{}).halfClose().ok()
	tp.call("CreateKey").request(&demo.CreateKeyRequest{Name: "a"}, "name", "+3").halfClose().end(status.New(codes.NotFound, "x"))
	f.Add(tp.text)
	f.Add([]byte(`{"methods": {"wstun.demo.v1.Hub/Sum": {"reply": {"sum": 1}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		isRecording := recording.Detect(text)
		rec, err := recording.Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && !isRecording {
			t.Error("Read reads a file that Detect doesn't know")
		}
		answers, leftOut, err := stub.FromRecording(rec, true, protoregistry.GlobalFiles)
		if err != nil && (strings.Contains(err.Error(), "\n") || leftOut == nil) {
			t.Errorf("error %q, left out %v", err, leftOut)
		}
		if err == nil && len(answers.Services()) == 0 {
			t.Error("a recording without services is accepted")
		}
	})
}
