package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// session is a tape with each kind of call, in which calls depend on each other.
func session(t *testing.T) *tape {
	t.Helper()
	tp := newTape(t)
	at := timestamppb.New(tp.clock)
	watch := tp.call("WatchKeys").send(&demo.WatchKeysRequest{}).half()
	watch.receive(&demo.KeyEvent{Event: &demo.KeyEvent_Snapshot{Snapshot: &demo.KeySnapshot{}}})
	for i := range 20 {
		name := fmt.Sprint("key-", i)
		create := tp.call("CreateKey").send(&demo.CreateKeyRequest{Name: name}).half()
		watch.receive(&demo.KeyEvent{Event: &demo.KeyEvent_Created{Created: &demo.Key{Name: name, CreateTime: at}}})
		create.receive(&demo.Key{Name: name, Secret: "dff56d1d", CreateTime: at}).ok()
	}
	tp.call("CreateKey").send(&demo.CreateKeyRequest{}).half().end(codes.InvalidArgument, "name: must not be empty")
	tp.unary("DeleteKey", &demo.DeleteKeyRequest{Name: "key-0"}, &emptypb.Empty{})
	watch.receive(&demo.KeyEvent{Event: &demo.KeyEvent_Deleted{Deleted: "key-0"}})

	echo := tp.call("Echo")
	for i := range 5 {
		text := fmt.Sprint("text ", i)
		echo.send(&demo.EchoRequest{Text: text}).receive(&demo.EchoResponse{Text: text, Count: uint32(i + 1)})
	}
	echo.half().ok()
	tp.call("Sum").send(&demo.SumRequest{Value: 2}).send(&demo.SumRequest{Value: 3}).half().receive(&demo.SumResponse{Sum: 5, Count: 2}).ok()
	tp.call("Sleep", deadline(20)).send(&demo.SleepRequest{Duration: durationpb.New(time.Minute)}).half().cancel(trace.Client, 20)
	tp.call("Echo").send(&demo.EchoRequest{Text: "x"}).receive(&demo.EchoResponse{Text: "x", Count: 1}).cancel(trace.Client, 0)
	return tp
}

// The calls of a recording are the same at a fresh server, except for the values that the
// server invents; and the hint says how to ignore them.
func TestHub(t *testing.T) {
	t.Parallel()
	tp := session(t)
	first := tp.replay(serveHub(t), []string{"CreateKey:status.details"})
	want := []string{"secret", "google.protobuf.Timestamp", "status.message"}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(first.summary.Ignore))
	if !slices.Equal(got, want) {
		t.Errorf("ignore %q, want %q\n%s", got, want, first.text)
	}
	if s := first.summary; s.Calls != 27 || s.Differ != 22 || s.Same != 5 || s.Failed+s.Skipped+s.NotMade > 0 {
		t.Errorf("%+v\n%s", s, first.text)
	}
	second := tp.replay(serveHub(t), append(first.summary.Ignore, "CreateKey:status.details"))
	if s := second.summary; s.Same != 27 || second.text != "27 calls: 27 same\n" {
		t.Errorf("%+v\n%s", s, second.text)
	}
	if s := tp.replay(serveHub(t), []string{"*.secret", "*.create_time", "status.*"}).summary; s.Same != 27 {
		t.Errorf("with globs: %+v", s)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	tp.call("CreateKey").send(&demo.CreateKeyRequest{Name: "z9"}).half().receive(&demo.Key{Name: "z9"}).ok()
	tp.call("Echo").send(&demo.EchoRequest{Text: "\u202ea"}).half().receive(&demo.EchoResponse{Text: "b", Count: 1}).receive(&demo.EchoResponse{}).ok()
	tp.call("Sum").half().event(trace.Cut, func(l *recording.Line) { l.Reason = "the session was lost" })
	cc := serveStream(t, func(method string, stream grpc.ServerStream) error {
		if strings.HasSuffix(method, "CreateKey") {
			return status.Error(codes.AlreadyExists, `key "z9" already exists`)
		}
		return stream.SendMsg(&demo.EchoResponse{Text: "\u202ea", Count: 1})
	})
	got := tp.replay(cc, nil)
	want := `DIFF #1 Hub/CreateKey  {"name":"z9"}
     status   - OK   + ALREADY_EXISTS key "z9" already exists
DIFF #2 Hub/Echo  {"text":"\u202ea"}
     response 1: text   - "b"   + "\u202ea"
     responses          - 2     + 1
3 calls: 2 differ, 1 skipped (it was cut: the session was lost)
`
	if got.text != want {
		t.Errorf("%s\nwant\n%s", got.text, want)
	}
	if ignore := Flags(got.summary.Ignore); ignore != "--ignore text --ignore responses --ignore status" {
		t.Errorf("hint %s", ignore)
	}
	if s := tp.replay(cc, got.summary.Ignore).summary; s.Same != 2 || s.Skipped != 1 {
		t.Errorf("%+v with the flags of the hint", s)
	}
}

// A stream of requests waits for the responses that preceded them, and no longer.
func TestPingPong(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	c := tp.call("Echo")
	const n = 3000
	for range n {
		c.send(&demo.EchoRequest{Text: "ping"}).receive(&demo.EchoResponse{Text: "pong"})
	}
	c.half().ok()
	early := make(chan int, 1)
	cc := serveStream(t, func(_ string, stream grpc.ServerStream) error {
		for i := range n {
			if err := stream.RecvMsg(&demo.EchoRequest{}); err != nil {
				return err
			}
			received := make(chan error, 1)
			if i == n-1 { // the client sends no more before the response
				go func() { received <- stream.RecvMsg(&demo.EchoRequest{}) }()
				select {
				case <-received:
					early <- i
				case <-time.After(20 * time.Millisecond):
				}
			}
			if err := stream.SendMsg(&demo.EchoResponse{Text: "pong"}); err != nil {
				return err
			}
		}
		return nil
	})
	if out := tp.replay(cc, nil); out.summary.Same != 1 {
		t.Error(out.text)
	}
	if len(early) > 0 {
		t.Errorf("the client ended the requests before response %d", <-early)
	}
}

// A call begins after the calls that had ended before, and beside those that had not.
func TestOrder(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	a := tp.call("Sum").half()
	b := tp.call("Sum").half()
	b.ok()
	a.ok()
	tp.call("Sum").half().ok()
	events := make(chan string, 10)
	second := make(chan struct{})
	count := make(chan int, 1)
	count <- 0
	cc := serveStream(t, func(string, grpc.ServerStream) error {
		n := <-count + 1
		count <- n
		events <- fmt.Sprint("begin ", n)
		switch n {
		case 1:
			<-second // overlaps
		case 2:
			close(second)
		}
		events <- "end"
		return nil
	})
	if out := tp.replay(cc, nil); out.summary.Same != 3 {
		t.Error(out.text)
	}
	var got []string
	for range 6 {
		got = append(got, <-events)
	}
	if last := got[4:]; !slices.Equal(last, []string{"begin 3", "end"}) || got[1] != "begin 2" {
		t.Errorf("order %q", got)
	}
}

func TestHungServer(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	tp.unary("CreateKey", &demo.CreateKeyRequest{Name: "a"}, &demo.Key{Name: "a"})
	tp.call("WatchKeys").half().receive(&demo.KeyEvent{}) // still open
	tp.call("WatchKeys").half().receive(&demo.KeyEvent{}).cancel(trace.Client, 0)
	cc := serveStream(t, func(_ string, stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return nil
	})
	out := tp.replay(cc, nil, timeout(50*time.Millisecond))
	if s := out.summary; s.Differ != 3 || !slices.Equal(s.Ignore, []string{"responses", "status"}) {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(out.text, "status   - OK   + still open after ") || !strings.Contains(out.text, "responses   - 1   + 0\n") {
		t.Error(out.text)
	}
}

// The end of the context ends a replay that waits.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	tp.call("Sum").half().ok()
	tp.call("Sum").half().ok()
	tp.call("Sum").half().ok()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan int, 3)
	cc := serveStream(t, func(_ string, stream grpc.ServerStream) error {
		if calls <- 1; len(calls) > 1 {
			cancel()
			<-stream.Context().Done()
		}
		return nil
	})
	out := tp.replayIn(ctx, cc, nil)
	if s := out.summary; s.Same != 1 || s.NotMade != 2 || out.text != "3 calls: 1 same, 2 not made\n" {
		t.Errorf("%+v, %s", s, out.text)
	}
}

// Nothing more is called when the connection is lost.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	for range 3 {
		tp.call("Sum").half().ok()
	}
	var cc *grpc.ClientConn
	calls := make(chan int, 3)
	cc = serveStream(t, func(_ string, stream grpc.ServerStream) error {
		if calls <- 1; len(calls) > 1 {
			_ = cc.Close()
			<-stream.Context().Done()
		}
		return nil
	})
	out := tp.replay(cc, nil)
	if s := out.summary; s.Same != 1 || s.Failed+s.NotMade != 2 || s.Failed == 0 {
		t.Errorf("%+v\n%s", s, out.text)
	}
}

// A stream that was cancelled, or still open, may send more than recorded, and a stream that
// ended may not.
func TestNumberOfResponses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		end    func(*taped)
		server func(stream grpc.ServerStream, send func() error) error
		want   Verdict
	}{
		{"more, cancelled", func(c *taped) { c.cancel(trace.Client, 0) }, func(_ grpc.ServerStream, send func() error) error {
			for send() == nil {
			}
			return nil
		}, Same},
		{"more, still open", func(*taped) {}, func(_ grpc.ServerStream, send func() error) error {
			for send() == nil {
			}
			return nil
		}, Same},
		{"more, ended", (*taped).ok, func(_ grpc.ServerStream, send func() error) error {
			for range 3 {
				_ = send()
			}
			return nil
		}, Differs},
		{"fewer, ended", (*taped).ok, func(_ grpc.ServerStream, send func() error) error { return send() }, Differs},
		{"fewer, cancelled", func(c *taped) { c.cancel(trace.Client, 0) }, func(stream grpc.ServerStream, send func() error) error {
			_ = send()
			<-stream.Context().Done()
			return nil
		}, Differs},
		{"ended early, cancelled", func(c *taped) { c.cancel(trace.Client, 0) }, func(_ grpc.ServerStream, send func() error) error {
			_ = send()
			return status.Error(codes.NotFound, "none")
		}, Differs},
		{"ended after as many, still open", func(*taped) {}, func(_ grpc.ServerStream, send func() error) error {
			_ = send()
			return send()
		}, Same},
		{"reset by the server", func(c *taped) { c.cancel(trace.Server, 0) }, func(_ grpc.ServerStream, send func() error) error {
			_ = send()
			_ = send()
			return status.Error(codes.Canceled, "another message")
		}, Same},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tp := newTape(t)
			tt.end(tp.call("WatchKeys").half().receive(&demo.KeyEvent{}).receive(&demo.KeyEvent{}))
			cc := serveStream(t, func(_ string, stream grpc.ServerStream) error {
				return tt.server(stream, func() error { return stream.SendMsg(&demo.KeyEvent{}) })
			})
			limit := tunneltest.Patience
			if tt.name == "fewer, cancelled" { // it hangs
				limit = 100 * time.Millisecond
			}
			out := tp.replay(cc, nil, timeout(limit))
			if got := out.results[1].Verdict; got != tt.want {
				t.Errorf("%s, want %s\n%s", got, tt.want, out.text)
			}
		})
	}
}

// The metadata of the recording is sent, without gRPC's own and without values that are
// missing; and a timeout if it had passed.
func TestSentMetadata(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	tp.call("Sum", func(l *recording.Line) {
		for name, value := range map[string]string{"x-a": "1", "x-b-bin": "AAH/", "authorization": trace.Redacted, "x-token": trace.Redacted, "grpc-trace-bin": "AA", "grpc-x": "2"} {
			l.Metadata[name] = []string{value}
		}
		l.Timeout = 60_000
	}).half().ok()
	sent := make(chan metadata.MD, 1)
	cc := serveStream(t, func(_ string, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		if _, ok := stream.Context().Deadline(); ok {
			md.Append("deadline", "true")
		}
		sent <- md
		return nil
	})
	out := tp.replay(cc, nil, func(o *Options) { o.Metadata = metadata.Pairs("authorization", "Bearer x") })
	if out.summary.Same != 1 {
		t.Error(out.text)
	}
	md := <-sent
	for name, want := range map[string][]string{"x-a": {"1"}, "x-b-bin": {"\x00\x01\xff"}, "authorization": {"Bearer x"}, "x-token": nil, "grpc-trace-bin": {"\x00"}, "grpc-x": nil, "deadline": nil} {
		if !slices.Equal(md[name], want) {
			t.Errorf("%s: %q, want %q", name, md[name], want)
		}
	}
	if slices.Contains(md["user-agent"], "test") {
		t.Error("the recorded user agent is sent")
	}
}

// The times of the recording are kept at speed 1, and shortened at a higher one.
func TestSpeed(t *testing.T) {
	t.Parallel()
	cc := serveStream(t, func(string, grpc.ServerStream) error { return nil })
	for _, tt := range []struct {
		speed      float64
		gap, least time.Duration
	}{{1, 200 * time.Millisecond, 200 * time.Millisecond}, {36_000, time.Hour, 100 * time.Millisecond}} {
		tp := newTape(t)
		tp.call("Sum").half().ok()
		tp.clock = tp.clock.Add(tt.gap)
		tp.call("Sum").half().ok()
		started := time.Now()
		out := tp.replayIn(tunneltest.Soon(t), cc, nil, func(o *Options) { o.Speed = tt.speed })
		if took := time.Since(started); out.summary.Same != 2 || took < tt.least {
			t.Errorf("speed %v: %v, want at least %v\n%s", tt.speed, took, tt.least, out.text)
		}
	}
}

// A hostile recording doesn't crash a replay.
func TestOddRecording(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	c := tp.call("Sum").half().half().send(&demo.SumRequest{}).event(trace.ClientHeader)
	c.half().ok()
	cc := serveStream(t, func(string, grpc.ServerStream) error { return nil })
	if out := tp.replay(cc, nil); out.summary.Same != 1 {
		t.Error(out.text)
	}
}
