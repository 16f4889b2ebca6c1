// Package h2 follows HTTP/2 connections (RFC 9113) from a copy of their bytes, as
// they pass between two other programs.
//
//	s := h2.NewScanner(h2.FromServer, h2.Visitor{End: func(h h2.Header) { … }})
//	for p := range received {
//		s.Scan(p)
//	}
//	if s.AtBoundary() {
//		// another frame may follow here
//	}
//
// A [Scanner] follows one direction of a connection. It keeps no bytes, allocates
// nothing, and never fails a connection: when the bytes aren't HTTP/2, it stops
// and says so. [Messages] follows the gRPC messages in DATA frames.
//
// The types of this package may be used by one goroutine at a time.
package h2

import "golang.org/x/net/http2"

// HeaderLen is the length of a frame header in bytes (RFC 9113 §4.1).
const HeaderLen = 9

// Header is a frame header (RFC 9113 §4.1). [http2.FrameHeader] has one field more, so
// that it isn't passed in registers, which costs a quarter of the time of a Scanner.
type Header struct {
	Type   http2.FrameType
	Flags  http2.Flags
	Length uint32 // of the payload in bytes, including padding
	Stream uint32 // 0: the whole connection
}

// Direction is the direction of a connection that a Scanner follows.
type Direction bool

// The directions, named by the sender. The client begins with a preface, and each
// side with a SETTINGS frame (RFC 9113 §3.4).
const (
	FromClient Direction = false
	FromServer Direction = true
)

// Visitor holds the functions that a Scanner calls. For each frame it calls Frame,
// then Payload any number of times, then End. Nil functions aren't called.
//
// CONTINUATION frames don't show: their payload follows that of the HEADERS or
// PUSH_PROMISE frame which they continue, and End marks the end of the header block.
type Visitor struct {
	// Frame is called at the end of the frame header. h.Length excludes CONTINUATION
	// frames.
	Frame func(h Header)

	// Payload is called for each piece of the payload: data, a fragment of a header
	// block, or the payload of another frame. Padding and the fields before a header
	// block are left out. p must not be kept.
	Payload func(h Header, p []byte)

	// End is called once the whole frame has been scanned.
	End func(h Header)
}
