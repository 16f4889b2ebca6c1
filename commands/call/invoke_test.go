package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

func TestInvokeKinds(t *testing.T) {
	t.Parallel()
	target := hub(t)
	tests := []struct {
		method, requests, want string
		code                   codes.Code
		sent                   int
	}{
		{"Hub/DeleteKey", `{"name":"none"}`, "", codes.NotFound, 1},
		{"Hub/DeleteKey", ``, "", codes.InvalidArgument, 0}, // an empty message
		{"Hub/Sleep", `{"duration":"0s"}`, "{}\n", codes.OK, 1},
		{"Hub/WatchKeys", `{"maxEvents":1,"tick":"-1s"}`, "", codes.InvalidArgument, 1},
		{"Hub/Sum", `{"value":40} {"value":"2"}`, `{"sum":"42","count":2}` + "\n", codes.OK, 2},
		{"Hub/Sum", ``, "{}\n", codes.OK, 0},
		{"Hub/Echo", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n", `{"text":"a","count":1}` + "\n" + `{"text":"b","count":2}` + "\n", codes.OK, 2},
		{"Hub/Echo", ``, "", codes.OK, 0},
	}
	for _, tt := range tests {
		got, r := invoke(t, target, tt.method, tt.requests, nil)
		if got != tt.want || r.Status.Code() != tt.code || r.Sent != tt.sent {
			t.Errorf("%s %s = %q, %v, sent %d; want %q, %v, %d", tt.method, tt.requests, got, r.Status, r.Sent, tt.want, tt.code, tt.sent)
		}
		if r.Received != strings.Count(tt.want, "\n") || r.Timings.End <= 0 || r.Timings.End < r.Timings.First || r.Timings.First < r.Timings.Headers {
			t.Errorf("%s: %d responses, timings %+v", tt.method, r.Received, r.Timings)
		}
		if (r.Timings.First > 0) != (r.Received > 0) {
			t.Errorf("%s: %d responses, timings %+v", tt.method, r.Received, r.Timings)
		}
	}
}

// Every kind of call to an unreachable server has a status that isn't OK.
func TestInvokeUnreachable(t *testing.T) {
	t.Parallel()
	target := hub(t)
	cc, err := grpc.NewClient("passthrough:///nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, errors.New("unreachable") }))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for _, name := range []string{"CreateKey", "WatchKeys", "Sum", "Echo"} {
		r, err := Invoke(testContext(t), cc, method(t, target, name), NoRequests, nil, nil)
		if err != nil || r.Status.Code() != codes.Unavailable || !strings.Contains(r.Status.Message(), "unreachable") {
			t.Errorf("%s: %v, %v; want UNAVAILABLE with the reason", name, r, err)
		}
	}
}

// The call ends when the server ends it, even if the input stays open.
func TestInvokeServerEndsFirst(t *testing.T) {
	t.Parallel()
	target := hub(t)
	in, w := io.Pipe()
	defer in.Close()
	go func() { _, _ = io.WriteString(w, `{"text":"bye","end":true}`) }()
	m := method(t, target, "Echo")
	r, err := Invoke(testContext(t), target.Conn, m, NewRequests(in, message.JSON, nil, nil), nil, nil)
	if err != nil || r.Status.Code() != codes.OK || r.Received != 1 {
		t.Errorf("%+v, %v; want the end with one response", r, err)
	}
}

// A unary call doesn't wait for the end of the input.
func TestInvokeUnaryInputStaysOpen(t *testing.T) {
	t.Parallel()
	target := hub(t)
	in, w := io.Pipe()
	defer in.Close()
	go func() { _, _ = io.WriteString(w, "{\"name\":\"none\"}\n") }()
	r, err := Invoke(testContext(t), target.Conn, method(t, target, "DeleteKey"), NewRequests(in, message.JSON, nil, nil), nil, nil)
	if err != nil || r.Status.Code() != codes.NotFound {
		t.Errorf("%+v, %v; want NOT_FOUND", r, err)
	}
}

func TestInvokeUnaryManyMessages(t *testing.T) {
	t.Parallel()
	target := hub(t)
	m := method(t, target, "CreateKey")
	for _, patient := range []bool{false, true} {
		requests := NewRequests(strings.NewReader(`{"name":"a"}{"name":"b"}`), message.JSON, nil, &RequestOptions{ReadAhead: patient})
		_, err := Invoke(testContext(t), target.Conn, m, requests, nil, nil)
		if re, ok := errors.AsType[*RequestError](err); !ok || re.Number != 2 {
			t.Errorf("%v; want an error about message 2", err)
		}
	}
	if got, _ := invoke(t, target, "WatchKeys", "{}", &Options{MaxResponses: 1}); got != `{"snapshot":{}}`+"\n" {
		t.Errorf("keys: %s; want none, since no CreateKey was sent", got)
	}
}

// An invalid message ends the call, and later messages are not sent.
func TestInvokeInvalidMessage(t *testing.T) {
	t.Parallel()
	target := hub(t)
	m := method(t, target, "Sum")
	for in, want := range map[string]string{
		"{\"value\":1}\n{\"value\":\"x\"}\n{\"value\":3}":   `message 2 (line 2): "value": want an int64 such as 42, not "x"`,
		"{\"value\":1}\n\n{oops}\n":                         `message 2 (line 3): invalid character 'o' looking for beginning of object key string`,
		"{\"nonsense\":1}":                                  `message 1 (line 1): unknown field "nonsense"`,
		"{\"value\":1}\n\n{\"value\":2,\n\n\"nonsense\":1}": `message 2 (line 5): unknown field "nonsense"`,
		"\n[1]":        `message 1 (line 2): want a wstun.demo.v1.SumRequest such as {"value": 42}, not a list`,
		"{\"value\":1": `message 1 (line 1): unexpected EOF`,
	} {
		r, err := Invoke(testContext(t), target.Conn, m, NewRequests(strings.NewReader(in), message.JSON, nil, nil), nil, nil)
		if _, ok := errors.AsType[*RequestError](err); !ok || err.Error() != want {
			t.Errorf("%q: %v, %v; want %s", in, r, err, want)
		}
	}
	in, want := "value: 1\x1e\n\nvalue: 2\nnonsense: 1", "message 2 (line 4): unknown field: nonsense"
	if _, err := Invoke(testContext(t), target.Conn, m, NewRequests(strings.NewReader(in), message.Text, nil, nil), nil, nil); err == nil || err.Error() != want {
		t.Errorf("%q: %v; want %s", in, err, want)
	}
}

// With OnInvalid, Invoke skips invalid messages.
func TestInvokeSkipsInvalidMessages(t *testing.T) {
	t.Parallel()
	target := hub(t)
	m := method(t, target, "Sum")
	var invalid []string
	in := "{\"value\":1}\n  {oops} {\"value\":100}\n{\"value\":\"x\"}\n{\"value\":\n2}\n}\n{\"value\":3} "
	requests := NewRequests(strings.NewReader(in), message.JSON, nil, &RequestOptions{OnInvalid: func(err *RequestError) {
		invalid = append(invalid, fmt.Sprintf("%d/%d", err.Number, err.Line))
	}})
	var got string
	_, err := Invoke(testContext(t), target.Conn, m, requests, nil, &Events{Message: func(ctx context.Context, r *Response) (err error) {
		got, err = message.Format(ctx, r.Message, nil, &message.Options{Compact: true})
		return err
	}})
	if want := `{"sum":"6","count":3}`; err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	if want := "2/2 3/3 5/6"; strings.Join(invalid, " ") != want {
		t.Errorf("invalid messages/lines %v, want %s", invalid, want)
	}
}

func TestInvokeCount(t *testing.T) {
	t.Parallel()
	target := hub(t)
	got, r := invoke(t, target, "WatchKeys", `{"tick":"0.001s"}`, &Options{MaxResponses: 3})
	if strings.Count(got, "\n") != 3 || !r.Stopped || r.Status.Code() != codes.OK || r.Received != 3 {
		t.Errorf("%s%+v; want three events and success", got, r)
	}
	// A call with fewer responses ends normally.
	got, r = invoke(t, target, "WatchKeys", `{"tick":"0.001s","maxEvents":1}`, &Options{MaxResponses: 3})
	if strings.Count(got, "\n") != 2 || r.Stopped || r.Status.Code() != codes.OK {
		t.Errorf("%s%+v; want two events", got, r)
	}
	if got, r = invoke(t, target, "Sum", `{"value":1}`, &Options{MaxResponses: 1}); r.Stopped || r.Status.Code() != codes.OK {
		t.Errorf("%s%+v; want the server's status", got, r)
	}
}

func TestInvokeContextEnds(t *testing.T) {
	t.Parallel()
	target := hub(t)
	m := method(t, target, "WatchKeys")
	ctx, cancel := context.WithCancel(testContext(t))
	r, err := Invoke(ctx, target.Conn, m, NoRequests, nil, &Events{Message: func(context.Context, *Response) error { cancel(); return nil }})
	if err != nil || r.Status.Code() != codes.Canceled || r.Received != 1 {
		t.Errorf("%+v, %v; want CANCELLED", r, err)
	}
	// Also while Next waits for a request.
	in, _ := io.Pipe()
	defer in.Close()
	ctx, cancel = context.WithCancel(testContext(t))
	echo := method(t, target, "Echo")
	r, err = Invoke(ctx, target.Conn, echo, NewRequests(in, message.JSON, nil, nil), nil, &Events{Sending: func(context.Context, *Method, metadata.MD) { cancel() }})
	if err != nil || r.Status.Code() != codes.Canceled {
		t.Errorf("%+v, %v; want CANCELLED", r, err)
	}
}

// failingConn is a connection whose calls fail with a status.
type failingConn struct {
	grpc.ClientConnInterface
	status *status.Status
}

func (c failingConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, c.status.Err()
}

// An expired deadline has the same status, whichever end notices it first.
func TestInvokeDeadline(t *testing.T) {
	t.Parallel()
	m := method(t, hub(t), "Echo")
	const reset = "stream terminated by RST_STREAM with error code: CANCEL"
	for _, tt := range []struct {
		code       codes.Code
		text, want string
	}{
		{codes.DeadlineExceeded, reset, "context deadline exceeded"},
		{codes.DeadlineExceeded, "too late", "too late"},
		{codes.Canceled, reset, reset},
	} {
		r, err := Invoke(testContext(t), failingConn{status: status.New(tt.code, tt.text)}, m, NoRequests, nil, nil)
		if err != nil || r.Status.Code() != tt.code || r.Status.Message() != tt.want {
			t.Errorf("%v %q: %+v, %v; want %q", tt.code, tt.text, r, err, tt.want)
		}
	}
}

// An error of an event ends the call, and Invoke returns it.
func TestInvokeEventError(t *testing.T) {
	t.Parallel()
	target := hub(t)
	full := errors.New("disk full")
	_, err := Invoke(testContext(t), target.Conn, method(t, target, "WatchKeys"), NoRequests, nil,
		&Events{Message: func(context.Context, *Response) error { return full }, End: func(context.Context, *Result) { t.Error("End was called") }})
	if !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}

func TestInvokeMetadataAndSizes(t *testing.T) {
	t.Parallel()
	cc := serve(t, func(s *grpc.Server) { demo.New().Register(s) }, grpc.UnaryInterceptor(
		func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetHeader(ctx, metadata.Pairs("got", strings.Join(md["sent"], "+"), "content", md["content-type"][0]))
			_ = grpc.SetTrailer(ctx, metadata.Pairs("end-bin", "\x00\x01"))
			return &demo.Key{Name: strings.Repeat("x", 300)}, nil
		}))
	target := &Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromSet(demoSet(t)))}
	_, r := invoke(t, target, "CreateKey", "{}", &Options{Metadata: metadata.Pairs("sent", "1", "sent", "2")})
	if got := r.Headers["got"]; len(got) != 1 || got[0] != "1+2" {
		t.Errorf("headers %v", r.Headers)
	}
	if got := r.Headers["content"]; len(got) != 1 || got[0] != "application/grpc" {
		t.Errorf("content type %v", got)
	}
	if got := FormatMetadata(r.Trailers); got != "end-bin: AAE=" {
		t.Errorf("trailers %q", got)
	}
	if w := r.Wire; w.SentMessages != 5 || w.ReceivedMessages != 5+3+300 || w.Headers == 0 || w.Trailers == 0 {
		t.Errorf("sizes %+v", w)
	}
	// A response larger than the limit.
	_, r = invoke(t, target, "CreateKey", "{}", &Options{MaxMsgSize: 302})
	if r.Status.Code() != codes.ResourceExhausted {
		t.Errorf("%v, want RESOURCE_EXHAUSTED", r.Status)
	}
}

func TestPrinterStatus(t *testing.T) {
	t.Parallel()
	target := hub(t)
	_, r := invoke(t, target, "DeleteKey", `{"name":"none"}`, nil)
	var out strings.Builder
	(&Printer{}).Status(t.Context(), &out, r.Status)
	want := `ERROR:
  Code: NotFound
  Message: key "none" does not exist
  Details:
  1)	{
    	  "@type": "type.googleapis.com/google.rpc.ResourceInfo",
    	  "resourceType": "key",
    	  "resourceName": "none",
    	  "description": "does not exist"
    	}
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	out.Reset()
	(&Printer{}).Status(t.Context(), &out, status.New(codes.Internal, "\x1b[2Jgone"))
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q contains control characters", &out)
	}
}
