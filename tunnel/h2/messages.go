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
		_, p = m.Next(p)
	}
}

// Next scans the beginning of p, the next bytes of the call: up to the end of a prefix or
// of a message. It returns the bytes of the message, which are none in a prefix, and the
// rest of p. p must not be empty. If AtBoundary reports true then, the message is complete.
func (m *Messages) Next(p []byte) (body, rest []byte) {
	if m.left > 0 {
		n := min(uint64(m.left), uint64(len(p)))
		if m.left -= uint32(n); m.left == 0 { //nolint:gosec // not more than left
			m.count++
		}
		return p[:n], p[n:]
	}
	n := copy(m.prefix[m.prefixRead:], p)
	if m.prefixRead += uint8(n); m.prefixRead == PrefixLen { //nolint:gosec // at most PrefixLen
		m.prefixRead, m.left = 0, binary.BigEndian.Uint32(m.prefix[1:])
		if m.left == 0 {
			m.count++
		}
	}
	return nil, p[n:]
}

// Prefix returns the flag byte and the length of the latest message whose prefix has been
// scanned whole. They are undefined within a prefix.
func (m *Messages) Prefix() (flags byte, length uint32) {
	return m.prefix[0], binary.BigEndian.Uint32(m.prefix[1:])
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
	_, length := m.Prefix()
	return PrefixLen + int64(length)
}

// Count returns the number of whole messages scanned so far.
func (m *Messages) Count() uint64 { return m.count }

// AtBoundary reports whether the bytes scanned so far end with a whole message.
func (m *Messages) AtBoundary() bool { return m.prefixRead == 0 && m.left == 0 }
