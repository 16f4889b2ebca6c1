package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// The first byte that an upstream sends. That of HTTP/2 is of the length of a
// SETTINGS frame, which is short.
const (
	http2Length  = 0
	tlsAlert     = 0x15
	tlsHandshake = 0x16
)

// began keeps what the first bytes of an upstream without TLS say, or why there are
// none. One that has spoken HTTP/2 before is not taken for one with TLS.
func (u *Upstream) began(first []byte, err error) {
	u.mu.Lock()
	known := u.spoke
	u.mu.Unlock()
	var cause error
	switch {
	case len(first) > 0 && first[0] == http2Length:
		u.mu.Lock()
		u.spoke = true
		u.mu.Unlock()
	case len(first) > 0 && (first[0] == tlsAlert || first[0] == tlsHandshake):
		cause = u.hinted("it speaks TLS")
	case len(first) > 0:
		cause = errors.New("it doesn't speak HTTP/2: is it a gRPC server?")
	case cut(err) && known:
		cause = errors.New("it closed the connection before HTTP/2 began")
	case cut(err):
		cause = u.hinted("it closed the connection before HTTP/2 began: does it speak TLS?")
	default: // closed here
		cause = errors.New("HTTP/2 did not begin in time")
	}
	u.setCause(context.Background(), cause)
}

// handshakeError is why a TLS handshake failed, in plain words where the upstream
// may not speak TLS.
func (u *Upstream) handshakeError(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return u.hinted("it doesn't speak TLS")
	}
	if cut(err) {
		return u.hinted("it closed the connection in the TLS handshake: does it speak TLS?")
	}
	return err
}

// cut reports whether a connection was ended by the other side.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// hinted is an error about TLS.
func (u *Upstream) hinted(text string) error {
	if u.tlsHint == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s (%s)", text, u.tlsHint)
}
