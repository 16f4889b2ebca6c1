package netdiag

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// alertOp is the Op of the *net.OpError that crypto/tls returns for an alert.
const alertOp = "remote error"

// Cause returns the reason that an error of package net wraps, without the
// addresses and the names of system calls before it: "connection refused" instead
// of "dial tcp 127.0.0.1:1: connect: connection refused". io.EOF and
// io.ErrUnexpectedEOF read "connection closed by peer". Any other error is
// returned as it is, also one that wraps those two. errors.Is matches what it matched before, and errors.As
// does except for *net.OpError and *os.SyscallError.
func Cause(err error) error {
	for oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op != alertOp; oe, ok = errors.AsType[*net.OpError](err) {
		err = oe.Err
	}
	if se, ok := errors.AsType[*os.SyscallError](err); ok {
		return se.Err
	}
	if errors.Unwrap(err) == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return closedError{err}
	}
	return err
}

// closedError is an io.EOF or io.ErrUnexpectedEOF with a text that users
// understand.
type closedError struct{ err error }

func (closedError) Error() string   { return "connection closed by peer" }
func (e closedError) Unwrap() error { return e.err }

// PeerClosed reports whether err says that the peer closed or reset the
// connection.
func PeerClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// NotTLS reports whether a TLS handshake failed with err because the peer
// doesn't speak TLS.
func NotTLS(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// Alert returns the text of the TLS alert from the peer that err wraps, such as
// "tls: certificate required", or "" if it wraps none (RFC 8446 §6). In TLS 1.3 a
// server refuses a client's certificate after the client's handshake is complete:
// the alert is then the error of the first Read.
func Alert(err error) string {
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == alertOp {
		return oe.Err.Error()
	}
	return ""
}

// TimeoutError reports that a peer hasn't answered within the duration that it
// holds. It matches [os.ErrDeadlineExceeded] and [context.DeadlineExceeded].
type TimeoutError time.Duration

func (e TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(e)) }

// Is makes errors.Is match both standard time-outs.
func (TimeoutError) Is(target error) bool {
	return target == os.ErrDeadlineExceeded || target == context.DeadlineExceeded
}
