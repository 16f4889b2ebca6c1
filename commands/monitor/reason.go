package monitor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Reason is a class of reasons why a session has ended, or a dial has failed. There are few,
// so that metrics have few labels.
type Reason int

// The reasons.
const (
	Network   Reason = iota // the connection failed, or could not be made
	Closed                  // the peer closed the session in order
	CloseCode               // the peer closed it with a status code that reports a problem
	Local                   // this side closed it
	Replaced                // another session replaces it, as asked
	GoAway                  // the peer accepts no more streams
	Silence                 // the peer sent nothing for --ping-timeout
	Protocol                // one side broke the protocol of WebSockets or yamux
	Name                    // the host has no address
	TLS                     // the handshake of TLS, or a certificate
	Refused                 // the peer, or a proxy, refused the credentials
	Handshake               // the peer refused the WebSocket for another reason
	Timeout                 // the dial took too long
	numReasons
)

var reasonNames = [numReasons]string{
	"network", "closed", "close_code", "local", "replaced", "goaway", "silence", "protocol",
	"name", "tls", "refused", "handshake", "timeout",
}

func (r Reason) String() string { return reasonNames[r] }

// ReasonOf returns the class of err, and the status code of the peer's Close frame, 0 without
// one.
func ReasonOf(err error) (r Reason, closeCode int) {
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		switch ce.Code {
		case websocket.CloseNormalClosure, websocket.CloseGoingAway:
			return Closed, ce.Code
		case websocket.CloseAbnormalClosure, websocket.CloseNoStatusReceived: // not in a frame
			return Network, 0
		}
		return CloseCode, ce.Code
	}
	return reasonOf(err), 0
}

func reasonOf(err error) Reason {
	he, isHandshake := errors.AsType[*tunnel.HandshakeError](err)
	switch {
	case isHandshake && he.Refused():
		return Refused
	case isHandshake:
		return Handshake
	case errors.Is(err, tunnel.ErrReconnect):
		return Replaced
	case errors.Is(err, mux.ErrRemoteGoAway):
		return GoAway
	case is[*wsmux.SilenceError](err):
		return Silence
	case is[*mux.ProtocolError](err), errors.Is(err, mux.ErrNotYamux):
		return Protocol
	case errors.Is(err, net.ErrClosed), errors.Is(err, tunnel.ErrShuttingDown):
		return Local
	case is[*net.DNSError](err):
		return Name
	case is[*tls.CertificateVerificationError](err), is[x509.UnknownAuthorityError](err), is[x509.HostnameError](err),
		is[x509.CertificateInvalidError](err), is[tls.AlertError](err), is[tls.RecordHeaderError](err):
		return TLS
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Network
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
