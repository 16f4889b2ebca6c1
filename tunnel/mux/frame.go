package mux

import "encoding/binary"

// A frame is a header of 12 bytes (version, type, flags, stream, length) and,
// if it is a data frame, a body of that length.
const (
	version    = 0
	headerSize = 12

	typeData         = 0
	typeWindowUpdate = 1 // length: by how much the window grows
	typePing         = 2 // length: an opaque value
	typeGoAway       = 3 // length: a code

	flagSYN = 1 // opens a stream, or requests a reply to a Ping
	flagACK = 2 // accepts a stream, or replies to a Ping
	flagFIN = 4 // closes the sender's direction
	flagRST = 8 // closes both directions at once

	goAwayNormal   = 0
	goAwayProtocol = 1
	goAwayInternal = 2
)

type header [headerSize]byte

func newHeader(kind byte, flags uint16, stream, length uint32) (h header) {
	h[0], h[1] = version, kind
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], length)
	return h
}

func (h *header) version() byte  { return h[0] }
func (h *header) kind() byte     { return h[1] }
func (h *header) flags() uint16  { return binary.BigEndian.Uint16(h[2:]) }
func (h *header) stream() uint32 { return binary.BigEndian.Uint32(h[4:]) }
func (h *header) length() uint32 { return binary.BigEndian.Uint32(h[8:]) }
