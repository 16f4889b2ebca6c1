// Package h2 scans the bytes of HTTP/2 connections (RFC 9113) between two other
// programs.
//
//	s := h2.NewScanner(h2.FromServer, h2.Visitor{End: func(h h2.Header) { … }})
//	for p := range received {
//		s.Scan(p)
//	}
//	if s.AtBoundary() {
//		// another frame may follow here
//	}
//
// A [Scanner] scans one direction of a connection for frames. It keeps no bytes and
// allocates nothing. If the bytes aren't HTTP/2, it stops with an error, which doesn't
// concern the connection itself. [Messages] finds the boundaries of gRPC messages in the
// payload of DATA frames.
//
// The types of this package may be used by one goroutine at a time.
package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// HeaderLen is the length of a frame header in bytes (RFC 9113 §4.1).
const HeaderLen = 9

// Header is a frame header (RFC 9113 §4.1). [http2.FrameHeader] has one more field, so
// that it isn't passed in registers, which costs a quarter of a Scanner's time.
type Header struct {
	Type   http2.FrameType
	Flags  http2.Flags
	Length uint32 // of the payload in bytes, including padding
	Stream uint32 // 0: the whole connection
}

// ParseHeader returns the frame header in the first HeaderLen bytes of p.
func ParseHeader(p []byte) Header {
	return Header{
		Type:   http2.FrameType(p[3]),
		Flags:  http2.Flags(p[4]),
		Length: uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2]),
		Stream: binary.BigEndian.Uint32(p[5:]) &^ (1 << 31), // without the reserved bit
	}
}

// Direction is one direction of a connection.
type Direction bool

// The directions, named after the sender. The connection preface depends on it: the
// client sends [http2.ClientPreface] and a SETTINGS frame, the server only a SETTINGS
// frame (RFC 9113 §3.4).
const (
	FromClient Direction = false
	FromServer Direction = true
)

// Visitor has the functions that a Scanner calls. For each frame it calls Frame, then
// Payload any number of times, then End. Nil functions aren't called.
//
// A HEADERS or PUSH_PROMISE frame and its CONTINUATION frames count as one frame: their
// payloads follow each other, and End is called at the end of the header block.
type Visitor struct {
	// Frame is called at the end of the frame header. h.Length excludes CONTINUATION
	// frames.
	Frame func(h Header)

	// Payload is called with consecutive parts of the payload: data, a header block,
	// or the whole payload of another frame. Padding and the fields before a header
	// block are left out. Payload must not keep a reference to p.
	Payload func(h Header, p []byte)

	// End is called once the whole frame has been scanned.
	End func(h Header)
}
