package tunnel

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// DefaultConnectTimeout is the default of DialOptions.ConnectTimeout.
const DefaultConnectTimeout = 10 * time.Second

// DialOptions adjusts Dial. Its zero value and nil mean the defaults.
type DialOptions struct {
	// Header is sent with the handshake. Default: none.
	Header http.Header

	// TLS is used for wss. Default: the system's certificates, the host's name.
	TLS *tls.Config

	// Subprotocols are offered in the handshake. Default: none.
	Subprotocols []string

	// ConnectTimeout bounds everything from the name's resolution to the
	// answer to the handshake. A negative one waits for ever.
	// Default: DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Session adjusts the session.
	Session SessionOptions
}

// DialError is why no session could be had: what was dialed, and what failed.
type DialError struct {
	URL string // without secrets
	Err error  // *HandshakeError if the peer answered, an error of the network or of TLS otherwise
}

func (e *DialError) Error() string { return "dial " + e.URL + ": " + cause(e.Err) }
func (e *DialError) Unwrap() error { return e.Err }

// cause is err without the address, which net repeats, and without the name of
// the system call.
func cause(err error) string {
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == "dial" {
		if errno, ok := errors.AsType[syscall.Errno](oe.Err); ok {
			return errno.Error()
		}
		return oe.Err.Error()
	}
	return err.Error()
}

// HandshakeError is an answer to the handshake other than 101.
type HandshakeError struct {
	StatusCode int
	Status     string // such as "403 Forbidden"
	Server     string // the Server header
	Body       string // its first line, cut and cleaned
}

func (e *HandshakeError) Error() string {
	s := "handshake: " + e.Status
	if e.StatusCode == http.StatusOK {
		s += ": not a WebSocket endpoint"
	}
	if e.Body != "" {
		s += ": " + e.Body
	}
	if e.Server != "" {
		s += " (server: " + e.Server + ")"
	}
	return s
}

// Refused reports whether the peer refused the credentials: 401 or 403.
func (e *HandshakeError) Refused() bool {
	return e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
}

// Dial dials a WebSocket and starts a session on it, which the caller closes.
// rawURL is ws, wss, http or https; a user and password in it are sent as
// Authorization: Basic (RFC 7617). The error is a *DialError.
func Dial(ctx context.Context, rawURL string, opts *DialOptions) (*wsmux.Session, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &DialError{"the URL", errors.Unwrap(err)} // the rest of err repeats the URL, password and all
	}
	session, err := dial(ctx, u, opts)
	if err != nil {
		return nil, &DialError{RedactURL(u), err}
	}
	return session, nil
}

// RedactURL is u for the eyes of others: without user, password and query.
func RedactURL(u *url.URL) string {
	r := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return r.String()
}

func dial(ctx context.Context, u *url.URL, opts *DialOptions) (*wsmux.Session, error) {
	if timeout := orDefault(opts.ConnectTimeout, DefaultConnectTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v: %w", timeout, os.ErrDeadlineExceeded))
		defer cancel()
	}
	header := opts.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	target := *u
	if target.User != nil && header.Get("Authorization") == "" {
		password, _ := target.User.Password()
		r := http.Request{Header: header}
		r.SetBasicAuth(target.User.Username(), password)
	}
	target.User = nil

	// gorilla stops minding ctx once TCP is up, so ctx closes the connection.
	var release func() bool
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				release = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
		TLSClientConfig: opts.TLS,
		Subprotocols:    opts.Subprotocols,
		ReadBufferSize:  wsmux.BufferSize,
		WriteBufferSize: wsmux.BufferSize,
		WriteBufferPool: writeBuffers,
	}
	ws, resp, err := dialer.DialContext(ctx, target.String(), header)
	if resp != nil {
		defer resp.Body.Close()
	}
	// Once released in vain, ctx has closed the connection, or is about to.
	if release != nil && !release() && err == nil {
		_ = ws.Close()
		err = context.Cause(ctx)
	}
	switch {
	case err == nil:
		return opts.Session.start(ws)
	case resp != nil && errors.Is(err, websocket.ErrBadHandshake):
		return nil, newHandshakeError(resp, header)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// writeBuffers keeps idle connections from holding a write buffer each.
var writeBuffers = &sync.Pool{}

// newHandshakeError keeps of the answer what helps to tell what went wrong.
// Whatever was sent in header is masked, should the peer repeat it.
func newHandshakeError(resp *http.Response, header http.Header) *HandshakeError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // gorilla keeps this much
	text := string(body)
	for _, values := range header {
		for word := range strings.FieldsSeq(strings.Join(values, " ")) { // "Bearer" and the token
			if len(word) >= 8 { // shorter ones are no secrets, and would mask at random
				text = strings.ReplaceAll(text, word, "***")
			}
		}
	}
	return &HandshakeError{
		StatusCode: resp.StatusCode,
		Status:     fmt.Sprintf("%d %s", resp.StatusCode, cmp.Or(http.StatusText(resp.StatusCode), "unknown status")),
		Server:     oneLine(resp.Header.Get("Server")),
		Body:       oneLine(text),
	}
}

// oneLine is the first line of a peer's text that says something, fit for a terminal.
func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(strings.TrimSpace(s), ""))
	if runes := []rune(s); len(runes) > 120 {
		s = string(runes[:120]) + "…"
	}
	return s
}
