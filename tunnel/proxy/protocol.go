package proxy

import (
	"errors"
	"fmt"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// recordFirstBytes records the protocol of an upstream without TLS, given its first bytes
// or the error of reading them. It doesn't suggest TLS for an upstream that has spoken
// HTTP/2 before.
func (u *Upstream) recordFirstBytes(first []byte, err error) {
	protocol := netdiag.Identify(first)
	u.mu.Lock()
	known := u.spokeHTTP2
	u.spokeHTTP2 = known || isHTTP2(protocol)
	u.mu.Unlock()
	var cause error
	switch {
	case isHTTP2(protocol):
	case protocol == netdiag.TLSAlert || protocol == netdiag.TLSHandshake:
		cause = u.withTLSHint("it speaks TLS")
	case len(first) > 0:
		cause = errors.New("it doesn't speak HTTP/2: is it a gRPC server?")
	case netdiag.PeerClosed(err) && known:
		cause = errors.New("it closed the connection before HTTP/2 began")
	case netdiag.PeerClosed(err):
		cause = u.withTLSHint("it closed the connection before HTTP/2 began: does it speak TLS?")
	default: // closed by this side
		cause = errors.New("HTTP/2 did not begin in time")
	}
	u.setCause(cause)
}

func isHTTP2(p netdiag.Protocol) bool { return p == netdiag.HTTP2Settings || p == netdiag.HTTP2GoAway }

// recordHandshake records the result of a TLS handshake.
func (u *Upstream) recordHandshake(err error) {
	switch {
	case err == nil:
		u.setCause(nil)
	case netdiag.NotTLS(err):
		u.setCause(u.withTLSHint("it doesn't speak TLS"))
	case netdiag.PeerClosed(err):
		u.setCause(u.withTLSHint("it closed the connection in the TLS handshake: does it speak TLS?"))
	default:
		u.setCause(netdiag.Cause(err))
	}
}

// withTLSHint returns an error with text and the TLSHint.
func (u *Upstream) withTLSHint(text string) error {
	if u.tlsHint == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s (%s)", text, u.tlsHint)
}
