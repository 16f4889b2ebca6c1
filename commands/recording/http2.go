package recording

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// maxFrame is the longest payload of a frame, in bytes (RFC 9113 §4.2).
	maxFrame = 1 << 14

	// maxStream is the highest number of a stream (RFC 9113 §5.1.1).
	maxStream = math.MaxInt32

	// maxDebugData is how much of a GOAWAY's debug data is written, in bytes.
	maxDebugData = 1 << 10
)

// preface begins HTTP/2 on c.
func (p *Pcapng) preface(c *conn) {
	p.segment(c, trace.Client, pushFlag|ackFlag, nil, []byte(http2.ClientPreface))
	p.frame(c, trace.Client, http2.FrameSettings, 0, 0)
	p.frame(c, trace.Server, http2.FrameSettings, 0, 0)
}

// frame appends a frame as a packet. Its payload is up to maxFrame bytes.
func (p *Pcapng) frame(c *conn, from trace.Side, kind http2.FrameType, flags http2.Flags, stream uint32, payload ...[]byte) {
	size := 0
	for _, part := range payload {
		size += len(part)
	}
	header := []byte{byte(size >> 16), byte(size >> 8), byte(size), byte(kind), byte(flags)}
	header = be.AppendUint32(header, stream)
	p.segment(c, from, pushFlag|ackFlag, nil, append([][]byte{header}, payload...)...)
}

// field adds a field to the header block.
func (p *Pcapng) field(name, value string) {
	_ = p.hpack.WriteField(hpack.HeaderField{Name: escape.Line(name), Value: escape.Line(value)}) // a bytes.Buffer has no errors
}

// metadata adds metadata to the header block, except for the given names.
func (p *Pcapng) metadata(fields []hpack.HeaderField, except ...string) {
	for _, f := range fields {
		if f.Name != "" && f.Name[0] != ':' && !slices.Contains(except, f.Name) {
			p.field(f.Name, f.Value)
		}
	}
}

// headers appends the header block, and empties it.
func (p *Pcapng) headers(c *openCall, from trace.Side, flags http2.Flags) {
	kind := http2.FrameHeaders
	for block := range slices.Chunk(p.block.Bytes(), maxFrame) {
		p.block.Next(len(block))
		if p.block.Len() == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		p.frame(c.conn, from, kind, flags, c.stream, block)
		kind, flags = http2.FrameContinuation, 0
	}
	p.block.Reset()
}

// message appends a message. The comments belong to its last frame, where Wireshark shows
// it.
func (p *Pcapng) message(c *openCall, from trace.Side, data []byte, comments []string) {
	const prefixLength = 5                                  // PROTOCOL-HTTP2.md of gRPC, Length-Prefixed-Message
	prefix := be.AppendUint32([]byte{0}, uint32(len(data))) //nolint:gosec // up to maxLine
	for first := true; first || len(data) > 0; first = false {
		size := maxFrame
		if first {
			size -= prefixLength
		} else {
			prefix = nil
		}
		var chunk []byte
		chunk, data = data[:min(size, len(data))], data[min(size, len(data)):]
		if len(data) == 0 {
			for _, text := range comments {
				p.comment("%s", text)
			}
		}
		p.frame(c.conn, from, http2.FrameData, 0, c.stream, prefix, chunk)
	}
}

// escapeMessage encodes grpc-message (PROTOCOL-HTTP2.md of gRPC, Status-Message).
func escapeMessage(s string) string {
	var b []byte
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '%' {
			b = fmt.Appendf(b, "%%%02X", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
