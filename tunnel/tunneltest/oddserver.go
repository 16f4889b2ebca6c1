package tunneltest

import (
	"bytes"
	"encoding/base64"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// OddResponse is a response that isn't quite gRPC's, and its right status.
type OddResponse struct {
	Name    string // the method
	Code    codes.Code
	Message string // with a * at the end: only the beginning
	Details bool   // the status has an ErrorInfo

	// ByClient says that the server sends no status: clients choose the message.
	ByClient bool

	write func(r *response)
}

var (
	grpcHeaders = []string{":status", "200", "content-type", "application/grpc"}
	outer       = []string{"grpc-status", "5", "grpc-message", "outer%21"}
)

// OddResponses returns the responses of ServeOdd.
func OddResponses() []OddResponse {
	info, _ := anypb.New(&errdetails.ErrorInfo{Reason: "R"}) // can't fail
	details := func(code codes.Code) []string {
		p, _ := proto.Marshal(&spb.Status{Code: int32(code), Message: "inner", Details: []*anypb.Any{info}}) //nolint:gosec // a small number
		return []string{"grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(p)}
	}
	const noStatus = ": the response has no grpc-status"
	return []OddResponse{
		{Name: "DetailsOfAnotherCode", Code: codes.NotFound, Message: "outer!", write: func(r *response) {
			r.headers(grpcHeaders)
			r.trailers(outer, details(codes.PermissionDenied))
		}},
		{Name: "DetailsOfAnotherCodeOnly", Code: codes.NotFound, Message: "outer!", write: func(r *response) {
			r.trailers(grpcHeaders, outer, details(codes.PermissionDenied))
		}},
		{Name: "DetailsOfAnotherMessage", Code: codes.NotFound, Message: "outer!", Details: true, write: func(r *response) {
			r.trailers(grpcHeaders, outer, details(codes.NotFound))
		}},
		{Name: "DetailsOfOK", Code: codes.OK, write: func(r *response) {
			r.headers(grpcHeaders)
			r.data("\x00\x00\x00\x00\x00", false)
			r.trailers([]string{"grpc-status", "0"}, details(codes.PermissionDenied))
		}},
		{Name: "NoContentType", Code: codes.NotFound, Message: "outer!", write: func(r *response) {
			r.trailers([]string{":status", "200"}, outer)
		}},
		{Name: "NoContentTypeAndData", Code: codes.NotFound, Message: "outer!", write: func(r *response) {
			r.headers([]string{":status", "200"})
			r.data("\x00\x00\x00\x00\x00", false)
			r.trailers(outer)
		}},
		{Name: "AnotherContentType", Code: codes.NotFound, Message: "outer!", write: func(r *response) {
			r.trailers([]string{":status", "200", "content-type", "text/plain"}, outer)
		}},
		{Name: "HTTP401", Code: codes.Unauthenticated, Message: "HTTP 401 Unauthorized" + noStatus, ByClient: true, write: func(r *response) {
			r.trailers([]string{":status", "401", "content-type", "application/grpc"})
		}},
		{Name: "HTTP401Bare", Code: codes.Unauthenticated, Message: "HTTP 401 Unauthorized" + noStatus, ByClient: true, write: func(r *response) {
			r.trailers([]string{":status", "401"})
		}},
		{Name: "HTTP403AndTrailers", Code: codes.PermissionDenied, Message: "HTTP 403 Forbidden" + noStatus, ByClient: true, write: func(r *response) {
			r.headers([]string{":status", "403", "content-type", "application/grpc"})
			r.trailers([]string{"key", "value"})
		}},
		{Name: "HTTP503AndData", Code: codes.Unavailable, Message: "HTTP 503 Service Unavailable" + noStatus, ByClient: true, write: func(r *response) {
			r.headers([]string{":status", "503", "content-type", "application/grpc"})
			r.data("", true)
		}},
		{Name: "HTTP404Page", Code: codes.Unimplemented, Message: "HTTP 404 Not Found; *", ByClient: true, write: func(r *response) {
			r.headers([]string{":status", "404", "content-type", "text/html"})
			r.data("<html>none</html>", true)
		}},
		{Name: "NoStatus", Code: codes.Unknown, Message: "HTTP 200 OK" + noStatus, ByClient: true, write: func(r *response) {
			r.headers(grpcHeaders)
			r.trailers([]string{"key", "value"})
		}},
	}
}

// response writes the response to one call.
type response struct {
	framer *http2.Framer
	stream uint32
}

func (r *response) headers(fields ...[]string)  { r.block(false, fields) }
func (r *response) trailers(fields ...[]string) { r.block(true, fields) }

func (r *response) block(end bool, fields [][]string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for pair := range slices.Chunk(slices.Concat(fields...), 2) {
		_ = e.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]}) // to memory
	}
	_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: r.stream, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

func (r *response) data(p string, end bool) { _ = r.framer.WriteData(r.stream, end, []byte(p)) }

// TooManyPings is the debug data of the GOAWAY frames of ServeOdd.
const TooManyPings = "too_many_pings"

// ServeOdd answers the calls of the connections that l accepts with the OddResponse of
// their method, of any service. A method GoAway receives a GOAWAY frame with the error
// code ENHANCE_YOUR_CALM, and then the connection ends; Reject receives one that excludes
// the call. ServeOdd returns when l is closed and all connections have ended.
func ServeOdd(l net.Listener) {
	responses := make(map[string]OddResponse)
	for _, r := range OddResponses() {
		responses[r.Name] = r
	}
	ServeHTTP2(l, func(f *http2.Framer, request *http2.MetaHeadersFrame) bool {
		path := request.PseudoValue("path")
		switch method := path[strings.LastIndexByte(path, '/')+1:]; method {
		case "GoAway":
			_ = f.WriteGoAway(request.StreamID, http2.ErrCodeEnhanceYourCalm, []byte(TooManyPings))
			return false
		case "Reject":
			_ = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte(TooManyPings))
		default:
			if r, ok := responses[method]; ok {
				r.write(&response{f, request.StreamID})
				break
			}
			(&response{f, request.StreamID}).trailers(grpcHeaders, []string{"grpc-status", "12", "grpc-message", "no " + method})
		}
		return true
	})
}

// ServeHTTP2 serves the connections that l accepts, and calls answer for each request. A
// connection ends with its client, or if answer returns false. ServeHTTP2 returns when l
// is closed and all connections have ended.
func ServeHTTP2(l net.Listener, answer func(f *http2.Framer, request *http2.MetaHeadersFrame) bool) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer c.Close()
			serveHTTP2Conn(c, answer)
		})
	}
}

func serveHTTP2Conn(c net.Conn, answer func(f *http2.Framer, request *http2.MetaHeadersFrame) bool) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.MetaHeadersFrame:
			if !answer(f, frame) {
				if c, ok := c.(*net.TCPConn); ok { // a reset could discard the answer
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				return
			}
		}
	}
}
