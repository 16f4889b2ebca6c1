package netdiag

import (
	"bytes"
	"net/http"
	"slices"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// Protocol describes the first bytes from a peer, as part of a sentence. The zero value
// means that the protocol is unknown, or that there are too few bytes.
type Protocol string

// The protocols that Identify knows.
const (
	HTTP1         Protocol = "an HTTP/1 answer"         // RFC 9112 §4
	HTTP1Request  Protocol = "an HTTP/1 request"        // RFC 9112 §3
	HTTP2Client   Protocol = "an HTTP/2 client preface" // RFC 9113 §3.4
	HTTP2Settings Protocol = "HTTP/2 SETTINGS"          // from an HTTP/2 server (RFC 9113 §3.4)
	HTTP2GoAway   Protocol = "HTTP/2 GOAWAY"            // from an HTTP/2 server that refuses the connection
	TLSAlert      Protocol = "a TLS alert"              // RFC 8446 §6
	TLSHandshake  Protocol = "a TLS handshake"          // RFC 8446 §4
)

// methods are those of RFC 9110 §9, and PATCH (RFC 5789).
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace, http.MethodPatch,
}

// FirstBytes is how many bytes of a server Identify needs.
const FirstBytes = h2.HeaderLen

// maxFrame is the default of SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2).
const maxFrame = 1 << 14

// Identify returns the protocol of a peer whose first bytes are first. It needs all 24
// bytes of an HTTP/2 client preface, and [FirstBytes] of any other protocol.
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
	method, _, found := bytes.Cut(first, []byte(" "))
	if found && slices.Contains(methods, string(method)) {
		return HTTP1Request
	}
	frame, err := http2.ReadFrameHeader(bytes.NewReader(first))
	switch {
	case err != nil || frame.StreamID != 0 || frame.Length > maxFrame:
	case frame.Type == http2.FrameSettings && !frame.Flags.Has(http2.FlagSettingsAck): // an acknowledgement is never first
		return HTTP2Settings
	case frame.Type == http2.FrameGoAway:
		return HTTP2GoAway
	}
	return ""
}
