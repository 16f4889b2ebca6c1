package stub_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/stub"
	"github.com/wstun/wstun/tunnel/trace"
)

// A tape is a recording that a test makes. Its clock goes on by a second for each event.
type tape struct {
	text  []byte
	now   time.Time
	calls uint64
}

func newTape() *tape {
	tp := &tape{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	tp.append(recording.NewHeader("", tp.now))
	return tp
}

func (tp *tape) append(l *recording.Line) { tp.text = l.Append(tp.text) }

// A recordedCall is a call on a tape.
type recordedCall struct {
	tape   *tape
	number uint64
	seq    uint32
	method string
}

// call begins a call of the demo Hub.
func (tp *tape) call(method string) *recordedCall {
	if !strings.HasPrefix(method, "/") {
		method = "/wstun.demo.v1.Hub/" + method
	}
	tp.calls++
	c := &recordedCall{tape: tp, number: tp.calls, method: method}
	c.event(trace.ClientHeader, func(*recording.Line) {})
	return c
}

// event appends an event, a second after the last one.
func (c *recordedCall) event(kind trace.Type, set func(*recording.Line)) *recordedCall {
	c.tape.now = c.tape.now.Add(time.Second)
	c.seq++
	l := recording.New(kind.String(), c.tape.now)
	l.Call, l.Seq, l.Method = c.number, c.seq, c.method
	set(l)
	c.tape.append(l)
	return c
}

func (c *recordedCall) message(kind trace.Type, m proto.Message, redacted []string) *recordedCall {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		data = []byte(err.Error())
	}
	return c.event(kind, func(l *recording.Line) {
		l.Data, l.Size, l.Redacted = append([]byte{}, data...), new(int64(len(data))), redacted
	})
}

func (c *recordedCall) request(m proto.Message, redacted ...string) *recordedCall {
	return c.message(trace.ClientMessage, m, redacted)
}

func (c *recordedCall) halfClose() *recordedCall {
	return c.event(trace.ClientHalfClose, func(*recording.Line) {})
}

// header has the metadata "name", "value", …
func (c *recordedCall) header(metadata ...string) *recordedCall {
	return c.event(trace.ServerHeader, setMetadata(metadata))
}

func (c *recordedCall) response(m proto.Message) *recordedCall {
	return c.message(trace.ServerMessage, m, nil)
}

// end ends the call with a status, and with metadata as header has it.
func (c *recordedCall) end(s *status.Status, metadata ...string) {
	c.event(trace.ServerTrailer, func(l *recording.Line) {
		setMetadata(metadata)(l)
		l.Status = &recording.Status{Code: uint32(s.Code()), Name: recording.StatusName(s.Code()), Message: s.Message()}
		if len(s.Details()) > 0 {
			l.Status.Data, _ = proto.Marshal(&spb.Status{Code: int32(s.Code()), Message: s.Message(), Details: s.Proto().GetDetails()})
		}
	})
}

func (c *recordedCall) ok() { c.end(status.New(codes.OK, "")) }

func setMetadata(pairs []string) func(*recording.Line) {
	return func(l *recording.Line) {
		l.Metadata = map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			l.Metadata[pairs[i]] = append(l.Metadata[pairs[i]], pairs[i+1])
		}
	}
}

// unary records a unary call with the answer OK.
func (tp *tape) unary(method string, request, response proto.Message) {
	tp.call(method).request(request).halfClose().header().response(response).ok()
}

// parse returns the Stub of the tape.
func (tp *tape) parse(delays bool) (*stub.Stub, stub.LeftOut, error) {
	rec, err := recording.Read(bytes.NewReader(tp.text))
	if err != nil {
		return nil, nil, err
	}
	return stub.FromRecording(rec, delays, protoregistry.GlobalFiles)
}

// serve serves the tape until the test ends.
func (tp *tape) serve(t *testing.T, delays bool) (*stub.Stub, demo.HubClient) {
	t.Helper()
	answers, leftOut, err := tp.parse(delays)
	if err != nil || len(leftOut) > 0 {
		t.Fatalf("%v; left out: %v", err, leftOut)
	}
	_, conn := serveStub(t, answers)
	return answers, demo.NewHubClient(conn)
}

func key(name string) *demo.Key { return &demo.Key{Name: name, Secret: fmt.Sprintf("of %s", name)} }

func bin(data string) string { return base64.RawStdEncoding.EncodeToString([]byte(data)) }
