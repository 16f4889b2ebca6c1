package wsmux

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/wstun/wstun/tunnel/h2"
)

const (
	// detailsKey is the trailer with a google.rpc.Status.
	detailsKey = "grpc-status-details-bin"

	// maxFrame is the longest frame that grpc-go's client accepts, the default of
	// SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2).
	maxFrame = 16384

	// maxHeaderTable is the size of the decoder's dynamic table (RFC 9113 §6.5.2).
	maxHeaderTable = 4096

	// maxHTTPErrors is how many open streams a responseConn remembers.
	maxHTTPErrors = 1000
)

// responseConn is a connection of a gRPC client. grpc-go replaces the status of unusual
// responses by a text about them. To keep the status, a responseConn appends header
// fields to these responses as they arrive:
//
//   - content-type, if it is missing;
//   - grpc-status and grpc-message after the HTTP status, if grpc-status is missing;
//   - a second grpc-status-details-bin, which is empty: it makes grpc-go ignore the
//     details, and responses decides about them.
//
// A CONTINUATION frame after the header block has the appended fields. The other bytes
// don't change. A responseConn also records GOAWAY frames.
type responseConn struct {
	net.Conn
	goAway *atomic.Pointer[string] // of the client: describes the last GOAWAY

	// used by Read only:
	ready   []byte // to be returned
	held    []byte // the received part of a frame that must be complete
	left    int    // bytes of the payload of another frame still to be received
	append  []byte // frames to append to the current frame
	stopped bool   // not HTTP/2, or malformed: grpc-go reports that

	frame  bytes.Reader // the input of framer
	framer *http2.Framer
	hpack  *hpack.Decoder
	block  headerBlock

	httpErrors map[uint32]int // stream → HTTP status other than 200 of its response without grpc-status
}

// headerBlock has the facts about a header block.
type headerBlock struct {
	stream      uint32
	endStream   bool
	httpStatus  int // 0: trailers
	contentType string
	hasStatus   bool
	details     int // the number of grpc-status-details-bin
}

func newResponseConn(c net.Conn, goAway *atomic.Pointer[string]) *responseConn {
	r := &responseConn{Conn: c, goAway: goAway}
	r.framer = http2.NewFramer(io.Discard, &r.frame)
	r.hpack = hpack.NewDecoder(maxHeaderTable, r.readField)
	r.hpack.SetMaxStringLength(maxHeaderList)
	return r
}

func (c *responseConn) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		n, err := c.Conn.Read(p)
		if n > 0 && !c.stopped {
			out := c.scan(p[:n])
			if n = copy(p, out); n < len(out) {
				c.ready = bytes.Clone(out[n:])
			}
		}
		if err != nil && len(c.held) > 0 { // the rest of the frame won't arrive
			c.ready, c.held = append(c.ready, c.held...), nil
		}
		if n > 0 || err != nil && len(c.ready) == 0 { // an error comes again
			return n, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// scan scans received bytes and returns those for grpc-go, which are in p or in another
// array.
func (c *responseConn) scan(p []byte) []byte {
	if len(c.held) > 0 {
		p, c.held = append(c.held, p...), nil
	}
	var out []byte // p[:from] with the appended frames
	from, at := 0, 0
	for at < len(p) && !c.stopped {
		if c.left > 0 {
			n := min(c.left, len(p)-at)
			c.left, at = c.left-n, at+n
		} else {
			n := c.beginFrame(p[at:])
			if n == 0 {
				c.held = bytes.Clone(p[at:])
				p = p[:at]
				break
			}
			at += n
		}
		if c.left == 0 && c.append != nil {
			out = append(append(out, p[from:at]...), c.append...)
			from, c.append = at, nil
		}
	}
	if out == nil {
		return p
	}
	return append(out, p[from:]...)
}

// beginFrame scans the frame that p begins with, or only its header, sets left and append,
// and returns how much it has scanned: 0 if that isn't complete.
func (c *responseConn) beginFrame(p []byte) int {
	if len(p) < h2.HeaderLen {
		return 0
	}
	h := h2.ParseHeader(p)
	switch h.Type {
	case http2.FrameHeaders, http2.FrameContinuation, http2.FrameGoAway:
		size := h2.HeaderLen + int(h.Length)
		if h.Length > maxFrame {
			c.stopped = true
			return h2.HeaderLen
		}
		if len(p) < size {
			return 0
		}
		c.readFrame(p[:size])
		return size
	case http2.FramePushPromise: // no client of grpc-go allows it
		c.stopped = true
	case http2.FrameRSTStream:
		delete(c.httpErrors, h.Stream)
	case http2.FrameData:
		if status := c.httpErrors[h.Stream]; status != 0 && h.Flags.Has(http2.FlagDataEndStream) {
			delete(c.httpErrors, h.Stream)
			p[4] &^= byte(http2.FlagDataEndStream)
			c.append = appendBlock(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, h.Stream, statusFields(status))
		}
	}
	c.left = int(h.Length)
	return h2.HeaderLen
}

// readFrame reads a whole frame: HEADERS, CONTINUATION or GOAWAY. It changes the flags of
// a header block that it appends fields to.
func (c *responseConn) readFrame(p []byte) {
	c.frame.Reset(p)
	frame, err := c.framer.ReadFrame()
	if err != nil {
		c.stopped = true
		return
	}
	var fragment []byte
	var end bool
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		c.block = headerBlock{stream: f.StreamID, endStream: f.StreamEnded()}
		fragment, end = f.HeaderBlockFragment(), f.HeadersEnded()
	case *http2.ContinuationFrame:
		fragment, end = f.HeaderBlockFragment(), f.HeadersEnded()
	case *http2.GoAwayFrame:
		text := fmt.Sprintf("GOAWAY %v", f.ErrCode)
		if len(f.DebugData()) > 0 {
			const most = 300
			text += fmt.Sprintf(": %.*q", most, f.DebugData())
		}
		c.goAway.Store(&text)
		return
	}
	if _, err := c.hpack.Write(fragment); err != nil || end && c.hpack.Close() != nil {
		c.stopped = true
		return
	}
	if !end {
		return
	}
	if fields := c.endBlock(); len(fields) > 0 {
		p[4] &^= byte(http2.FlagHeadersEndHeaders) // the same as that of CONTINUATION
		c.append = appendBlock(http2.FrameContinuation, http2.FlagContinuationEndHeaders, c.block.stream, fields)
	}
}

// readField is called for each field of a header block.
func (c *responseConn) readField(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		c.block.httpStatus, _ = strconv.Atoi(f.Value) // grpc-go reports an error
	case "content-type":
		c.block.contentType = f.Value
	case "grpc-status":
		c.block.hasStatus = true
	case detailsKey:
		c.block.details++
	}
}

// endBlock returns the fields to append to the header block.
func (c *responseConn) endBlock() (fields []hpack.HeaderField) {
	b := &c.block
	isTrailers := b.httpStatus == 0
	httpStatus := b.httpStatus
	switch {
	case isTrailers:
		httpStatus = http.StatusOK
		if status := c.httpErrors[b.stream]; status != 0 {
			httpStatus = status
		}
	case httpStatus < http.StatusOK: // an interim response
		return nil
	}
	isGRPC := isTrailers || isGRPCType(b.contentType)
	if !isGRPC && (b.hasStatus || b.contentType == "" && (b.endStream || httpStatus == http.StatusOK)) {
		isGRPC = true
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	}
	if b.details == 1 {
		fields = append(fields, hpack.HeaderField{Name: detailsKey})
	}
	switch {
	case b.endStream:
		delete(c.httpErrors, b.stream)
		if isGRPC && !b.hasStatus {
			fields = append(fields, statusFields(httpStatus)...)
		}
	case isGRPC && !isTrailers && !b.hasStatus && httpStatus != http.StatusOK:
		if c.httpErrors == nil || len(c.httpErrors) == maxHTTPErrors { // this end has reset many of these streams
			c.httpErrors = make(map[uint32]int)
		}
		c.httpErrors[b.stream] = httpStatus
	}
	return fields
}

// isGRPCType reports whether grpc-go accepts a content-type.
func isGRPCType(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// statusFields returns the status of a response without grpc-status
// (http-grpc-status-mapping.md of gRPC).
func statusFields(httpStatus int) []hpack.HeaderField {
	code := codes.Unknown
	switch httpStatus {
	case http.StatusBadRequest:
		code = codes.Internal
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusNotFound:
		code = codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		code = codes.Unavailable
	}
	text := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", httpStatus, http.StatusText(httpStatus)))
	return []hpack.HeaderField{
		{Name: "grpc-status", Value: strconv.Itoa(int(code))},
		{Name: "grpc-message", Value: text + ": the response has no grpc-status"},
	}
}

// appendBlock returns a frame with fields. It doesn't change the dynamic table of the
// client's decoder, which belongs to the server's encoder.
func appendBlock(t http2.FrameType, flags http2.Flags, stream uint32, fields []hpack.HeaderField) []byte {
	var block, out bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		f.Sensitive = true        // never in a table (RFC 7541 §6.2.3)
		_ = encoder.WriteField(f) // a bytes.Buffer returns no errors
	}
	_ = http2.NewFramer(&out, nil).WriteRawFrame(t, flags, stream, block.Bytes())
	return out.Bytes()
}

// responseCredentials make a responseConn of each connection.
type responseCredentials struct {
	credentials.TransportCredentials
	goAway *atomic.Pointer[string]
}

func (r *responseCredentials) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := r.TransportCredentials.ClientHandshake(ctx, authority, c)
	if err != nil {
		return nil, nil, err
	}
	return newResponseConn(c, r.goAway), info, nil
}

func (r *responseCredentials) Clone() credentials.TransportCredentials {
	return &responseCredentials{r.TransportCredentials.Clone(), r.goAway}
}
