package netdiag

import (
	"bytes"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// Protocol names what a peer sent first, as a part of a sentence. The zero value
// is an unknown protocol, or too few bytes to identify it.
type Protocol string

// The protocols that Identify knows.
const (
	HTTP1         Protocol = "an HTTP/1 answer"         // RFC 9112 §4
	HTTP2Client   Protocol = "an HTTP/2 client preface" // RFC 9113 §3.4
	HTTP2Settings Protocol = "HTTP/2 SETTINGS"          // begins an HTTP/2 server's side (RFC 9113 §3.4)
	HTTP2GoAway   Protocol = "HTTP/2 GOAWAY"            // begins the side of an HTTP/2 server that refuses the connection
	TLSAlert      Protocol = "a TLS alert"              // RFC 8446 §6
	TLSHandshake  Protocol = "a TLS handshake"          // RFC 8446 §4
)

// FirstBytes is the most bytes that Identify needs of a server.
const FirstBytes = h2.HeaderLen

// maxFrame is the most that an HTTP/2 frame may hold before other SETTINGS
// (RFC 9113 §4.2).
const maxFrame = 1 << 14

// Identify returns the protocol of a peer whose first bytes are first. All of a
// client preface, 24 bytes, must be there; [FirstBytes] suffice for the others.
func Identify(first []byte) Protocol {
	switch {
	case bytes.HasPrefix(first, []byte(http2.ClientPreface)):
		return HTTP2Client
	case bytes.HasPrefix(first, []byte("HTTP/")):
		return HTTP1
	case bytes.HasPrefix(first, []byte{0x15, 3}): // record type, major version (RFC 8446 §5.1)
		return TLSAlert
	case bytes.HasPrefix(first, []byte{0x16, 3}):
		return TLSHandshake
	}
	frame, err := http2.ReadFrameHeader(bytes.NewReader(first))
	switch {
	case err != nil || frame.StreamID != 0 || frame.Length > maxFrame:
	case frame.Type == http2.FrameSettings && !frame.Flags.Has(http2.FlagSettingsAck): // an acknowledgement never comes first
		return HTTP2Settings
	case frame.Type == http2.FrameGoAway:
		return HTTP2GoAway
	}
	return ""
}
