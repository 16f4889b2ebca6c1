package h2

import "encoding/binary"

// prefixLen is the length of a message's prefix: a flag byte, and the message's length
// in four bytes.
const prefixLen = 5

// Messages finds the message boundaries in one direction of a gRPC call, which are in
// the payload of its DATA frames (PROTOCOL-HTTP2.md of gRPC, Length-Prefixed-Message).
// The zero value is at the beginning of a call.
type Messages struct {
	prefix     [prefixLen]byte
	prefixRead uint8  // bytes in prefix
	left       uint32 // bytes of the message still to scan
}

// Scan scans p, the next bytes of the call.
func (m *Messages) Scan(p []byte) {
	for len(p) > 0 {
		if m.left > 0 {
			n := min(uint64(m.left), uint64(len(p)))
			m.left -= uint32(n) //nolint:gosec // not more than left
			p = p[n:]
			continue
		}
		n := copy(m.prefix[m.prefixRead:], p)
		p = p[n:]
		if m.prefixRead += uint8(n); m.prefixRead == prefixLen { //nolint:gosec // at most prefixLen
			m.prefixRead, m.left = 0, binary.BigEndian.Uint32(m.prefix[1:])
		}
	}
}

// Left returns how many bytes of the current message are still to scan; 0 at a boundary
// and within a prefix.
func (m *Messages) Left() uint32 { return m.left }

// AtBoundary reports whether the bytes scanned so far end with a whole message.
func (m *Messages) AtBoundary() bool { return m.prefixRead == 0 && m.left == 0 }
