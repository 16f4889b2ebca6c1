package h2

import "encoding/binary"

// PrefixLen is the length of a message's prefix: a flag byte, and the message's length
// in four bytes.
const PrefixLen = 5

// Messages finds the message boundaries in one direction of a gRPC call, which are in
// the payload of its DATA frames (PROTOCOL-HTTP2.md of gRPC, Length-Prefixed-Message).
// The zero value is at the beginning of a call.
type Messages struct {
	prefix     [PrefixLen]byte
	prefixRead uint8  // bytes in prefix
	left       uint32 // bytes of the message still to scan
	count      uint64 // whole messages
}

// Scan scans p, the next bytes of the call.
func (m *Messages) Scan(p []byte) {
	for len(p) > 0 {
		if m.left > 0 {
			n := min(uint64(m.left), uint64(len(p)))
			m.left -= uint32(n) //nolint:gosec // not more than left
			p = p[n:]
			if m.left == 0 {
				m.count++
			}
			continue
		}
		n := copy(m.prefix[m.prefixRead:], p)
		p = p[n:]
		if m.prefixRead += uint8(n); m.prefixRead == PrefixLen { //nolint:gosec // at most PrefixLen
			m.prefixRead, m.left = 0, binary.BigEndian.Uint32(m.prefix[1:])
			if m.left == 0 {
				m.count++
			}
		}
	}
}

// Left returns how many bytes of the current message are still to scan; 0 at a boundary
// and within a prefix.
func (m *Messages) Left() uint32 { return m.left }

// Length returns the length of the current message with its prefix; 0 at a boundary and
// within a prefix.
func (m *Messages) Length() int64 {
	if m.left == 0 {
		return 0
	}
	return PrefixLen + int64(binary.BigEndian.Uint32(m.prefix[1:]))
}

// Count returns the number of whole messages scanned so far.
func (m *Messages) Count() uint64 { return m.count }

// AtBoundary reports whether the bytes scanned so far end with a whole message.
func (m *Messages) AtBoundary() bool { return m.prefixRead == 0 && m.left == 0 }
