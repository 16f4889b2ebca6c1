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

	"github.com/wstun/wstun/tunnel/h2"
)

// explain tells an HTTP/2 client why its connection ends. Open calls end with the
// status UNAVAILABLE. Those with an unfinished message can't; they find the reason in
// the debug data of a GOAWAY (RFC 9113 §6.8), which gRPC clients put into their errors.
func (fl *flow) explain(reason error) error {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	if !fl.calls.responses.AtBoundary() {
		return h2.ErrNotHTTP2
	}
	text := "wstun: " + reason.Error()
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil) // its errors are those of the buffer, which has none
	for stream, r := range fl.calls.betweenMessages() {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: unavailable(text, r.begun), EndHeaders: true, EndStream: true,
		})
	}
	_ = framer.WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte(text))
	_ = fl.client.SetWriteDeadline(time.Now().Add(closeWait))
	_, err := fl.client.Write(out.Bytes())
	if err == nil {
		fl.closeGracefully()
	}
	return err
}

// unavailable returns the header block that ends a call with UNAVAILABLE, after the
// headers of its response if they have begun (PROTOCOL-HTTP2.md of gRPC, Responses). It
// leaves the dynamic table of the client's decoder alone, because the server uses that.
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
