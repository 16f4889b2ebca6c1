package replay

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const hub = "/wstun.demo.v1.Hub/"

// tape is a recording that a test writes. Its clock advances by a millisecond with each
// event.
type tape struct {
	t     *testing.T
	data  []byte
	clock time.Time
	calls uint64
}

// newTape returns a recording with the schema of the demo.
func newTape(t *testing.T) *tape {
	t.Helper()
	tp := &tape{t: t, clock: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)}
	tp.line(&recording.Line{Event: recording.HeaderLine, Version: recording.Version})
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range []protoadapt.MessageV2{(*timestamppb.Timestamp)(nil), (*durationpb.Duration)(nil), (*emptypb.Empty)(nil), (*demo.Key)(nil)} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file.ProtoReflect().Descriptor().ParentFile()))
	}
	tp.line(&recording.Line{Event: recording.SchemaLine, Files: marshal(set)})
	return tp
}

func marshal(m proto.Message) []byte {
	data, _ := proto.Marshal(m)
	return append([]byte{}, data...) // not nil
}

func (tp *tape) line(l *recording.Line) {
	tp.clock = tp.clock.Add(time.Millisecond)
	l.Time = tp.clock.Format(time.RFC3339Nano)
	tp.data = l.Append(tp.data)
}

// taped is a call of a tape.
type taped struct {
	*tape
	number uint64
	seq    uint32
	method string
}

// call begins a call of the demo's Hub.
func (tp *tape) call(method string, change ...func(*recording.Line)) *taped {
	tp.calls++
	c := &taped{tape: tp, number: tp.calls, method: hub + method}
	c.event(trace.ClientHeader, append([]func(*recording.Line){func(l *recording.Line) {
		l.Metadata = map[string][]string{"content-type": {"application/grpc"}, "user-agent": {"test"}, "te": {"trailers"}}
	}}, change...)...)
	return c
}

// deadline sets the timeout of a call, in milliseconds.
func deadline(timeout recording.Milliseconds) func(*recording.Line) {
	return func(l *recording.Line) { l.Timeout = timeout }
}

func (c *taped) event(kind trace.Type, change ...func(*recording.Line)) *taped {
	c.seq++
	l := recording.New(kind.String(), c.clock)
	l.Session, l.Call, l.Seq, l.Method = 1, c.number, c.seq, c.method
	for _, f := range change {
		f(l)
	}
	c.line(l)
	return c
}

func withData(data []byte) func(*recording.Line) {
	return func(l *recording.Line) { l.Data, l.Size = data, new(int64(len(data))) }
}

func (c *taped) send(m proto.Message) *taped {
	return c.event(trace.ClientMessage, withData(marshal(m)))
}
func (c *taped) half() *taped { return c.event(trace.ClientHalfClose) }
func (c *taped) receive(m proto.Message, redacted ...string) *taped {
	return c.event(trace.ServerMessage, withData(marshal(m)), func(l *recording.Line) { l.Redacted = redacted })
}

func (c *taped) end(code codes.Code, text string, details ...*spb.Status) {
	c.event(trace.ServerTrailer, func(l *recording.Line) {
		l.Status = &recording.Status{Code: uint32(code), Name: recording.StatusName(code), Message: text}
		if len(details) > 0 {
			l.Status.Data = marshal(details[0])
		}
	})
}

func (c *taped) ok() { c.end(codes.OK, "") }

// cancel ends the call from one side, after a number of milliseconds.
func (c *taped) cancel(by trace.Side, after recording.Milliseconds) {
	c.event(trace.Cancel, func(l *recording.Line) { l.By, l.Code, l.Duration = by.String(), "CANCEL", after })
}

// unary adds a call with one request and one response.
func (tp *tape) unary(method string, request, response proto.Message) {
	tp.call(method).send(request).half().receive(response).ok()
}

func (tp *tape) read() *recording.Recording {
	tp.t.Helper()
	rec, err := recording.Read(bytes.NewReader(tp.data))
	if err != nil {
		tp.t.Fatal(err)
	}
	return rec
}

// serve serves a gRPC server, and returns a connection to it.
func serve(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(opts...)
	register(srv)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	cc, err := grpc.NewClient(l.Addr().String(), append(call.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		srv.Stop()
		<-served
	})
	return cc
}

// serveHub serves a demo Hub without keys.
func serveHub(t *testing.T, opts ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	return serve(t, func(s *grpc.Server) { demo.New().Register(s) }, opts...)
}

// serveStream serves all methods by one function.
func serveStream(t *testing.T, handle func(method string, stream grpc.ServerStream) error) *grpc.ClientConn {
	t.Helper()
	return serve(t, func(*grpc.Server) {}, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		return handle(method, stream)
	}))
}

// output is the output of a replay, and its results.
type output struct {
	text    string
	summary *Summary
	results map[uint64]*Result
}

// replay replays a tape with values of --ignore.
func (tp *tape) replay(cc grpc.ClientConnInterface, ignore []string, change ...func(*Options)) *output {
	tp.t.Helper()
	return tp.replayIn(tp.t.Context(), cc, ignore, change...)
}

func (tp *tape) replayIn(ctx context.Context, cc grpc.ClientConnInterface, ignore []string, change ...func(*Options)) *output {
	tp.t.Helper()
	rules, err := ParseRules(ignore, nil)
	if err != nil {
		tp.t.Fatal(err)
	}
	rec := tp.read()
	set, err := reflection.FromFiles(ctx, rec.Files.Set())
	if err != nil {
		tp.t.Fatal(err)
	}
	var text strings.Builder
	out := &output{results: map[uint64]*Result{}}
	printer := NewPrinter(&text, rec.Calls)
	opts := &Options{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromSet(set)), Rules: rules, Report: func(r *Result) {
		out.results[r.Number] = r
		printer.Result(r)
	}}
	for _, f := range change {
		f(opts)
	}
	out.summary = Run(ctx, rec.Calls, opts)
	printer.Summary(out.summary)
	out.text = text.String()
	return out
}

// timeout sets a short time limit.
func timeout(d time.Duration) func(*Options) { return func(o *Options) { o.Timeout = d } }
