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

// alertOp is the Op of the *net.OpError that crypto/tls returns for the peer's alert.
const alertOp = "remote error"

// Cause returns the innermost reason of an error of package net, without addresses and
// names of system calls: "connection refused" instead of "dial tcp 127.0.0.1:1: connect:
// connection refused". For io.EOF and io.ErrUnexpectedEOF themselves, but not for errors
// that wrap them, the text is "connection closed by peer". Other errors are returned
// unchanged. The result wraps the same errors as err, except *net.OpError and
// *os.SyscallError. On Windows, the errors of sockets become those that package syscall has
// for all systems.
func Cause(err error) error {
	for oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op != alertOp; oe, ok = errors.AsType[*net.OpError](err) {
		err = oe.Err
	}
	if se, ok := errors.AsType[*os.SyscallError](err); ok {
		return portable(se.Err)
	}
	if errors.Unwrap(err) == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return closedError{err}
	}
	return err
}

// closedError is io.EOF or io.ErrUnexpectedEOF with a clearer text.
type closedError struct{ err error }

func (closedError) Error() string   { return "connection closed by peer" }
func (e closedError) Unwrap() error { return e.err }

// Is reports whether err wraps errno. On Windows, unlike [errors.Is], it knows that an error
// such as WSAECONNREFUSED is [syscall.ECONNREFUSED].
func Is(err error, errno syscall.Errno) bool {
	if errors.Is(err, errno) {
		return true
	}
	e, ok := errors.AsType[syscall.Errno](err)
	return ok && errors.Is(portable(e), errno)
}

// PeerClosed reports whether err means that the peer closed or reset the connection.
func PeerClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		Is(err, syscall.ECONNRESET) || Is(err, syscall.EPIPE)
}

// NotTLS reports whether a TLS handshake failed with err because the peer
// doesn't speak TLS.
func NotTLS(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// Alert returns the text of the peer's TLS alert (RFC 8446 §6) that err wraps, such as
// "tls: certificate required", or "" if there is none. In TLS 1.3, a server refuses a
// client's certificate after the client has completed the handshake, so the alert is
// the error of the first Read.
func Alert(err error) string {
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == alertOp {
		return oe.Err.Error()
	}
	return ""
}

// TimeoutError means that a peer hasn't answered within this duration. It matches
// [os.ErrDeadlineExceeded] and [context.DeadlineExceeded].
type TimeoutError time.Duration

func (e TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(e)) }

// Is reports whether target is one of the two standard timeouts.
func (TimeoutError) Is(target error) bool {
	return target == os.ErrDeadlineExceeded || target == context.DeadlineExceeded
}
