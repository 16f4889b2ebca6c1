package proxy

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// connectError is why a connection could not be made, without the address
// that the upstream's name says already.
type connectError struct {
	err error
}

func (e *connectError) Error() string {
	if sys, ok := errors.AsType[*os.SyscallError](e.err); ok {
		return sys.Err.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](e.err); ok {
		return dns.Err
	}
	if op, ok := errors.AsType[*net.OpError](e.err); ok && op.Op == "dial" {
		return op.Err.Error()
	}
	return e.err.Error()
}

func (e *connectError) Unwrap() error { return e.err }

// unreachable returns the status error of a call that could not be begun. What
// gRPC says about the connection is put in fewer words.
func (u *Upstream) unreachable(err error) error {
	st, _ := status.FromError(err)
	text, ok := connectionText(st.Message())
	if st.Code() != codes.Unavailable || !ok {
		return u.lost(err)
	}
	u.mu.Lock()
	if u.cause != nil {
		text = u.cause.Error()
	}
	u.mu.Unlock()
	return status.Errorf(codes.Unavailable, "upstream %s: %s", u.addr, text)
}

// lost returns the status error of a call that had begun: err, unless that
// speaks of the connection and so comes from gRPC here and not from the
// upstream.
func (u *Upstream) lost(err error) error {
	if errors.Is(err, grpc.ErrClientConnClosing) { //nolint:staticcheck // the only way to tell it from a cancel
		return status.Errorf(codes.Unavailable, "upstream %s: closed", u.addr)
	}
	st, _ := status.FromError(err)
	if st.Code() != codes.Unavailable {
		return err
	}
	if text, ok := connectionText(st.Message()); ok {
		return status.Errorf(codes.Unavailable, "upstream %s: %s", u.addr, text)
	}
	return err
}

// connectionText takes the cause out of the text of gRPC's connection errors
// and reports whether it is one.
func connectionText(s string) (string, bool) {
	const mark = `connection error: desc = "`
	i := strings.Index(s, mark)
	if i < 0 {
		return s, false
	}
	quoted, err := strconv.QuotedPrefix(s[i+len(mark)-1:])
	if err != nil {
		return s, false
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return s, false
	}
	text = strings.TrimPrefix(text, "transport: ")
	for _, prefix := range []string{"Error while dialing: ", "error while dialing: ", "authentication handshake failed: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text, true
}
