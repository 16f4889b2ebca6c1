package proxy

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/limit"
)

// unreachable returns the status error of a call that could not start. It shortens
// grpc-go's text about the connection.
func (u *Upstream) unreachable(err error) error {
	text, ok := connectionCause(err)
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

// callError returns the status error of a call that had started. It replaces errors of
// grpc-go about the connection and returns others unchanged. An upstream may send the
// same text about an upstream of its own: then lossCount still equals losses, its value
// at the start of the call.
func (u *Upstream) callError(err error, trailer metadata.MD, losses int) error {
	if st := status.Convert(err); strings.HasSuffix(st.Message(), limit.ErrMemory.Error()) {
		return status.Error(codes.ResourceExhausted, st.Message())
	}
	text, ok := connectionCause(err)
	if !ok || len(trailer) > 0 || u.conn.GetState() != connectivity.Shutdown && u.lossCount() == losses {
		return err
	}
	return status.Errorf(codes.Unavailable, "upstream %s: %s", u.addr, text)
}

// connectionCause extracts the cause from grpc-go's errors about a lost or failed
// connection. It returns false for other errors.
func connectionCause(err error) (string, bool) {
	st := status.Convert(err)
	switch text := st.Message(); {
	case st.Code() == codes.Canceled && text == closing:
		return "closed", true
	case st.Code() != codes.Unavailable:
		return "", false
	case text == "transport is closing":
		return "connection lost", true
	case strings.HasPrefix(text, draining), strings.HasPrefix(text, rejected):
		return "connection lost" + strings.TrimPrefix(strings.TrimPrefix(text, draining), rejected), true
	case strings.HasPrefix(text, reading):
		return shortenReadError(text), true
	default:
		return parseConnectionError(text)
	}
}

// Texts of grpc-go about a closed client and a lost connection. Package wsmux appends the
// GOAWAY to those about one.
const (
	closing  = "grpc: the client connection is closing"
	reading  = "error reading from server: "
	draining = "the connection is draining"
	rejected = "the stream is rejected because server is draining the connection"
)

// shortenReadError shortens grpc-go's texts about lost connections, such as
// "error reading from server: read tcp A->B: read: connection reset by peer".
func shortenReadError(text string) string {
	cause := strings.TrimPrefix(text, reading)
	if i := strings.LastIndex(cause, ": "); i >= 0 && strings.HasPrefix(cause, "read ") {
		cause = cause[i+2:]
	}
	return "connection lost: " + cause
}

// goAway begins the text that package wsmux appends.
const goAway = ": GOAWAY "

// parseConnectionError extracts the cause, and the GOAWAY, from grpc-go's text about a
// failed connection, which quotes the cause. It returns false if s is another text.
func parseConnectionError(s string) (string, bool) {
	const marker = `connection error: desc = `
	i := strings.Index(s, marker+`"`)
	if i < 0 {
		return "", false
	}
	quoted, err := strconv.QuotedPrefix(s[i+len(marker):])
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
		text = shortenReadError(text)
	}
	if rest := s[i+len(marker)+len(quoted):]; strings.HasPrefix(rest, goAway) {
		text += rest
	}
	return text, true
}
