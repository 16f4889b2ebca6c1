package forward

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// responseFrames returns a response with headers and a message in as many frames as
// possible: a HEADERS frame and CONTINUATION frames, and padded DATA frames of one byte
// each.
func responseFrames(t *testing.T, stream uint32, message string) []byte {
	t.Helper()
	var out, block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for name, value := range map[string]string{"content-type": "application/grpc", "some": "header"} {
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	status := append([]byte{0x88}, block.Bytes()...) // :status 200 must be first
	framer := http2.NewFramer(&out, nil)
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: status[:1], PadLength: 7}))
	for i := 1; i < len(status); i++ {
		check(framer.WriteContinuation(stream, i == len(status)-1, status[i:i+1]))
	}
	body, err := proto.Marshal(wrapperspb.String(message))
	check(err)
	for i, b := range append([]byte{0, 0, 0, 0, byte(len(body))}, body...) {
		check(framer.WriteDataPadded(stream, false, []byte{b}, make([]byte, i)))
	}
	return out.Bytes()
}

// serveFrames responds to the first call on conn with responseFrames, in chunks of
// random length.
func serveFrames(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Error(err)
		return
	}
	framer := http2.NewFramer(conn, conn)
	if err := errors.Join(framer.WriteSettings(), framer.WriteSettingsAck()); err != nil {
		t.Error(err)
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Error(err)
			return
		}
		headers, ok := frame.(*http2.HeadersFrame)
		if !ok {
			continue
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for rest := responseFrames(t, headers.StreamID, message); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(12))
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		return
	}
}

// A call whose response is padded and split ends with the reason when its session is
// lost.
func TestExplainAfterPaddedResponse(t *testing.T) {
	t.Parallel()
	addr, peer, _ := forwardTo(t)
	answered := make(chan *wsmux.Stream, 1)
	go func() {
		stream, err := peer.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		serveFrames(t, stream, "hello")
		answered <- stream
	}()
	call, err := tunneltest.Caller(t, addr).NewStream(tunneltest.Soon(t), &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(call.SendMsg(wrapperspb.String("hello")), call.CloseSend()); err != nil {
		t.Fatal(err)
	}
	reply := new(wrapperspb.StringValue)
	if err := call.RecvMsg(reply); err != nil || reply.GetValue() != "hello" {
		t.Fatalf("the message = %q, %v, want hello", reply.GetValue(), err)
	}
	tunneltest.Await(t, "the response", answered)
	peer.CloseWithError(errors.New("broken"))
	s := status.Convert(call.RecvMsg(reply))
	if s.Code() != codes.Unavailable || s.Message() != "wstun: session ended: websocket: close 1011 (internal server error): broken" {
		t.Errorf("RecvMsg = %v, want Unavailable and the reason", s)
	}
}
