package proxy

import (
	"errors"
	"fmt"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// began records what the first bytes of an upstream without TLS say, or why there
// are none. An upstream that spoke HTTP/2 before isn't taken for one with TLS.
func (u *Upstream) began(first []byte, err error) {
	protocol := netdiag.Identify(first)
	u.mu.Lock()
	known := u.spoke
	u.spoke = known || isHTTP2(protocol)
	u.mu.Unlock()
	var cause error
	switch {
	case isHTTP2(protocol):
	case protocol == netdiag.TLSAlert || protocol == netdiag.TLSHandshake:
		cause = u.hinted("it speaks TLS")
	case len(first) > 0:
		cause = errors.New("it doesn't speak HTTP/2: is it a gRPC server?")
	case netdiag.PeerClosed(err) && known:
		cause = errors.New("it closed the connection before HTTP/2 began")
	case netdiag.PeerClosed(err):
		cause = u.hinted("it closed the connection before HTTP/2 began: does it speak TLS?")
	default: // closed here
		cause = errors.New("HTTP/2 did not begin in time")
	}
	u.setCause(cause)
}

func isHTTP2(p netdiag.Protocol) bool { return p == netdiag.HTTP2Settings || p == netdiag.HTTP2GoAway }

// handshake records the outcome of a TLS handshake.
func (u *Upstream) handshake(err error) {
	switch {
	case err == nil:
		u.setCause(nil)
	case netdiag.NotTLS(err):
		u.setCause(u.hinted("it doesn't speak TLS"))
	case netdiag.PeerClosed(err):
		u.setCause(u.hinted("it closed the connection in the TLS handshake: does it speak TLS?"))
	default:
		u.setCause(netdiag.Cause(err))
	}
}

// hinted returns an error about TLS.
func (u *Upstream) hinted(text string) error {
	if u.tlsHint == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s (%s)", text, u.tlsHint)
}
