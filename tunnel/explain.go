package tunnel

import (
	"bytes"
	"math"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// explain tells an HTTP/2 client why its connection ends. Calls end with the status
// UNAVAILABLE. For those that have got a part of a message, it is in the debug data
// of a GOAWAY (RFC 9113 §6.8), which gRPC clients put into their errors.
func (fl *flow) explain(reason error) error {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	if !fl.fromServer.between() {
		return errNotHTTP2
	}
	text := "wstun: " + reason.Error()
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil) // whose errors are the buffer's, which has none
	for stream, r := range fl.calls.betweenMessages() {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: unavailable(text, r.begun), EndHeaders: true, EndStream: true,
		})
	}
	_ = framer.WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte(text))
	_ = fl.near.SetWriteDeadline(time.Now().Add(farewellWait))
	_, err := fl.near.Write(out.Bytes())
	if err == nil {
		fl.sayFarewell()
	}
	return err
}

// unavailable is the header block that ends a call with UNAVAILABLE, one whose
// response may have begun (PROTOCOL-HTTP2.md of gRPC, Responses). It leaves the table
// of the client's decoder, which is the server's to use, alone.
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
