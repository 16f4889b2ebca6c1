package limit

import (
	"encoding/binary"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// windowUpdateLen is the length of a WINDOW_UPDATE frame in bytes (RFC 9113 §6.9).
const windowUpdateLen = h2.HeaderLen + 4

// frames splits the bytes that a server writes into frames.
type frames struct {
	partial []byte // the beginning of a frame header or a WINDOW_UPDATE frame, not yet sent
	left    int    // bytes of the current frame's payload still to come
}

func (f *frames) atBoundary() bool { return f.left == 0 && len(f.partial) == 0 }

// split calls visit for each frame whose header p completes, and send for the frames that
// visit accepts. increment is that of a WINDOW_UPDATE frame.
func (f *frames) split(p []byte, visit func(h h2.Header, increment uint32) bool, send func([]byte) error) error {
	if len(f.partial) > 0 {
		head := f.partial
		for len(p) > 0 && !isWhole(head) {
			head, p = append(head, p[0]), p[1:]
		}
		f.partial = nil
		if err := f.splitWhole(head, visit, send); err != nil {
			return err
		}
	}
	return f.splitWhole(p, visit, send)
}

// isWhole reports whether p has a frame header, and all of a WINDOW_UPDATE frame.
func isWhole(p []byte) bool {
	isUpdate := len(p) > 3 && http2.FrameType(p[3]) == http2.FrameWindowUpdate
	return len(p) >= windowUpdateLen || len(p) >= h2.HeaderLen && !isUpdate
}

// splitWhole is split at a point where no frame header is partial.
func (f *frames) splitWhole(p []byte, visit func(h h2.Header, increment uint32) bool, send func([]byte) error) error {
	start, at := 0, min(f.left, len(p))
	f.left -= at
	for f.left == 0 && at < len(p) {
		rest := p[at:]
		if !isWhole(rest) {
			f.partial = append(f.partial, rest...)
			p = p[:at]
			break
		}
		h := h2.ParseHeader(rest)
		var increment uint32
		if h.Type == http2.FrameWindowUpdate {
			increment = binary.BigEndian.Uint32(rest[h2.HeaderLen:])
		}
		size := h2.HeaderLen + int(h.Length)
		if !visit(h, increment) {
			if at > start {
				if err := send(p[start:at]); err != nil {
					return err
				}
			}
			start = at + size
		}
		f.left = max(0, at+size-len(p))
		at = min(at+size, len(p))
	}
	if len(p) > start {
		return send(p[start:])
	}
	return nil
}

// windowUpdate returns a WINDOW_UPDATE frame (RFC 9113 §6.9).
func windowUpdate(stream uint32, increment int64) []byte {
	return appendFrame(nil, http2.FrameWindowUpdate, stream, uint32(increment)) //nolint:gosec // from a frame
}

// appendReset appends a RST_STREAM frame (RFC 9113 §6.4).
func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	return appendFrame(b, http2.FrameRSTStream, stream, uint32(code))
}

// appendFrame appends a frame with a payload of four bytes.
func appendFrame(b []byte, t http2.FrameType, stream, payload uint32) []byte {
	b = append(b, 0, 0, 4, byte(t), 0)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, stream), payload)
}
