package proxy

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// unreachable returns the status error of a call that could not begin, with gRPC's
// text about the connection shortened.
func (u *Upstream) unreachable(err error) error {
	text, ok := connectionText(err)
	if !ok {
		return err
	}
	u.mu.Lock()
	if u.cause != nil && u.conn.GetState() != connectivity.Shutdown {
		text = u.cause.Error()
	}
	u.mu.Unlock()
	return status.Errorf(codes.Unavailable, "upstream %s: %s", u.addr, text)
}

// lost returns the status error of a call that had begun: err, unless it is this
// gRPC client's and about the connection. An upstream may send the same words
// about an upstream of its own: then no connection has ended since the call began,
// when losses was counted.
func (u *Upstream) lost(err error, trailer metadata.MD, losses int) error {
	text, ok := connectionText(err)
	if !ok || len(trailer) > 0 || u.conn.GetState() != connectivity.Shutdown && u.lossCount() == losses {
		return err
	}
	return status.Errorf(codes.Unavailable, "upstream %s: %s", u.addr, text)
}

// connectionText extracts the cause from gRPC's errors about a connection that was
// lost or not established, and reports whether err is one.
func connectionText(err error) (string, bool) {
	st := status.Convert(err)
	switch text := st.Message(); {
	case st.Code() == codes.Canceled && text == closing:
		return "closed", true
	case st.Code() != codes.Unavailable:
		return "", false
	case text == "transport is closing", text == "the connection is draining":
		return "connection lost", true
	case strings.HasPrefix(text, reading):
		return connectionLost(text), true
	default:
		return cutConnectionError(text)
	}
}

// gRPC's texts about a closed client and a lost connection.
const (
	closing = "grpc: the client connection is closing"
	reading = "error reading from server: "
)

// connectionLost shortens gRPC's texts about lost connections, such as
// "error reading from server: read tcp A->B: read: connection reset by peer".
func connectionLost(text string) string {
	cause := strings.TrimPrefix(text, reading)
	if i := strings.LastIndex(cause, ": "); i >= 0 && strings.HasPrefix(cause, "read ") {
		cause = cause[i+2:]
	}
	return "connection lost: " + cause
}

// cutConnectionError extracts the cause from the text of a connection error, which
// gRPC quotes in others.
func cutConnectionError(s string) (string, bool) {
	const mark = `connection error: desc = `
	i := strings.Index(s, mark+`"`)
	if i < 0 {
		return "", false
	}
	quoted, err := strconv.QuotedPrefix(s[i+len(mark):])
	if err != nil {
		return "", false
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return "", false
	}
	text = strings.TrimPrefix(text, "transport: ")
	for _, prefix := range []string{"Error while dialing: ", "error while dialing: ", "authentication handshake failed: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	if strings.HasPrefix(text, reading) {
		text = connectionLost(text)
	}
	return text, true
}
