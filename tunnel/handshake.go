package tunnel

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wstun/wstun/tunnel/netdiag"
)

const (
	// maxAnswerBody is how many bytes of an answer's body are read: gorilla keeps
	// no more.
	maxAnswerBody = 1024

	// maxAnswerText is how many characters of an answer's text an error repeats.
	maxAnswerText = 120

	// maxCauseText is how many characters of any other failure's text an error
	// repeats: net/http quotes whole lines that it can't parse.
	maxCauseText = 400

	// minSecret is how long a secret must be to be masked. Shorter words would
	// be masked at random.
	minSecret = 4
)

// The protocols that a peer may speak instead of HTTP/1.1.
var (
	// ErrHTTP2 reports that the peer speaks HTTP/2, as gRPC servers do.
	ErrHTTP2 = errors.New("handshake: the peer speaks HTTP/2, as gRPC servers do, and accepts no WebSocket")

	// ErrTLS reports that the peer speaks TLS, and the URL is one without TLS.
	ErrTLS = errors.New("handshake: the peer speaks TLS")
)

// foreignProtocol returns ErrHTTP2 or ErrTLS if the peer's first bytes show that it
// speaks one of those, and nil otherwise.
func foreignProtocol(first []byte) error {
	switch netdiag.Identify(first) {
	case netdiag.HTTP2Settings, netdiag.HTTP2GoAway:
		return ErrHTTP2
	case netdiag.TLSAlert:
		return ErrTLS
	}
	return nil
}

// HandshakeError is an answer to the handshake other than 101.
type HandshakeError struct {
	StatusCode int
	Status     string   // such as "403 Forbidden"
	Server     string   // the Server header
	Headers    []string // others that help to find the mistake, such as "location: /login"
	Body       string   // its first line, cut and cleaned
}

func (e *HandshakeError) Error() string {
	s := "handshake: " + e.Status
	switch e.StatusCode {
	case http.StatusOK:
		s += ": not a WebSocket endpoint"
	case http.StatusSwitchingProtocols:
		s += ": not to the WebSocket protocol"
	}
	if e.Body != "" {
		s += ": " + e.Body
	}
	headers := e.Headers
	if e.Server != "" {
		headers = append([]string{"server: " + e.Server}, headers...)
	}
	if len(headers) > 0 {
		s += " (" + strings.Join(headers, ", ") + ")"
	}
	return s
}

// Refused reports whether the peer refused the credentials: 401 or 403.
func (e *HandshakeError) Refused() bool {
	return e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
}

// newHandshakeError keeps the parts of the answer that help to find the mistake,
// with secrets masked in case the peer repeats them.
func newHandshakeError(resp *http.Response, secrets *strings.Replacer) *HandshakeError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBody))
	var headers []string
	for _, name := range []string{"Location", "WWW-Authenticate"} {
		if value := resp.Header.Get(name); value != "" {
			headers = append(headers, strings.ToLower(name)+": "+netdiag.Line(secrets.Replace(value), maxAnswerText))
		}
	}
	return &HandshakeError{
		Headers:    headers,
		StatusCode: resp.StatusCode,
		Status:     fmt.Sprintf("%d %s", resp.StatusCode, cmp.Or(http.StatusText(resp.StatusCode), "unknown status")),
		Server:     netdiag.Line(secrets.Replace(resp.Header.Get("Server")), maxAnswerText),
		Body:       netdiag.Line(secrets.Replace(string(body)), maxAnswerText),
	}
}

// secrets masks the password, the query, and nearly every word of the headers that
// were sent: their names don't say which of them is a token.
func secrets(u *url.URL, header http.Header) *strings.Replacer {
	var words []string
	for name, values := range header {
		if name == "Origin" || name == "Host" || name == "User-Agent" {
			continue // no secrets, and an answer often refers to them
		}
		for _, value := range values {
			words = append(words, strings.Fields(value)...)
			words = append(words, strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(` ,;="`, r) })...)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		words = append(words, password)
	}
	for _, values := range u.Query() {
		words = append(words, values...)
	}
	words = append(words, strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == '=' })...)
	words = slices.DeleteFunc(words, func(word string) bool {
		return len(word) < minSecret || strings.EqualFold(word, "Bearer") || strings.EqualFold(word, "Basic")
	})
	// Replacer takes the first match: a word must precede its own beginning.
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, word := range words {
		pairs = append(pairs, word, "***")
	}
	return strings.NewReplacer(pairs...)
}
