package forward

import (
	"bytes"
	"math"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/h2"
)

// explain tells an HTTP/2 client why its connection ends, and closes the connection
// gracefully. It ends open calls with the status UNAVAILABLE. It can't end a call in
// the middle of a message; for these, the debug data of a GOAWAY has the reason (RFC
// 9113 §6.8), and gRPC clients include that in their errors. An error means that the
// client can't be told.
func (fl *flow) explain(reason error) error {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	if !fl.calls.responses.AtBoundary() {
		return h2.ErrNotHTTP2
	}
	text := fl.explanation(reason)
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil) // a bytes.Buffer returns no errors
	anyOpen := fl.calls.anyOpen()
	for stream, k := range fl.calls.takeBetweenMessages() {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: unavailable(text, k.answered), EndHeaders: true, EndStream: true,
		})
	}
	_ = framer.WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte(text))
	// The end of the session breaks the client's direction, too, if the client sends then.
	hasClient := fl.clientFailure.Load() == nil || fl.connected().sessionErr() != nil
	if hasClient && anyOpen {
		fl.trace.GoAway(text)
	}
	_ = fl.client.SetWriteDeadline(time.Now().Add(closeWait))
	_, err := fl.client.Write(out.Bytes())
	if err == nil {
		fl.closeGracefully()
	}
	return err
}

// explanation returns the reason, which may have a peer's text, for the client: it prints
// the text as it is.
func (fl *flow) explanation(reason error) string {
	return "wstun: " + escape.Line(fl.secrets.Mask(reason.Error()))
}

// unavailable returns the header block that ends a call with UNAVAILABLE: trailers if
// the response has begun, otherwise a Trailers-Only response (PROTOCOL-HTTP2.md of gRPC,
// Responses). It doesn't change the dynamic table of the client's decoder, which belongs
// to the server's encoder.
func unavailable(text string, begun bool) []byte {
	fields := []hpack.HeaderField{
		{Name: "grpc-status", Value: strconv.Itoa(int(codes.Unavailable))},
		{Name: "grpc-message", Value: url.PathEscape(text)},
	}
	if !begun {
		fields = append([]hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}}, fields...)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		field.Sensitive = true // never in a table (RFC 7541 §6.2.3)
		_ = encoder.WriteField(field)
	}
	return block.Bytes()
}
