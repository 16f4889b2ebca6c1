package tunnel

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

const (
	// maxResponseBody is how many bytes of a response's body are read. gorilla keeps
	// no more.
	maxResponseBody = 1024

	// maxResponseText is how many characters of a response's header or body an error
	// contains.
	maxResponseText = 120

	// maxCauseText is how many characters of another error's text a DialError
	// contains. net/http quotes whole lines that it can't parse.
	maxCauseText = 400

	// minSecret is the length from which a word is masked. Shorter words occur in
	// other text by chance.
	minSecret = 4
)

// The protocols that a peer may speak instead of HTTP/1.1.
var (
	// ErrHTTP2 means that the peer speaks HTTP/2, as gRPC servers do.
	ErrHTTP2 = errors.New("handshake: the peer speaks HTTP/2, as gRPC servers do, and accepts no WebSocket")

	// ErrTLS means that the peer speaks TLS, but the URL's scheme is without TLS.
	ErrTLS = errors.New("handshake: the peer speaks TLS")
)

// otherProtocol returns ErrHTTP2 or ErrTLS if the peer's first bytes are of that
// protocol, and nil otherwise.
func otherProtocol(first []byte) error {
	switch netdiag.Identify(first) {
	case netdiag.HTTP2Settings, netdiag.HTTP2GoAway:
		return ErrHTTP2
	case netdiag.TLSAlert:
		return ErrTLS
	}
	return nil
}

// HandshakeError is a response to the handshake with a status code other than 101. Its
// text is truncated and escaped, and secrets are masked.
type HandshakeError struct {
	StatusCode int
	Status     string   // such as "403 Forbidden"
	Server     string   // the Server header
	Headers    []string // other headers that may explain the error, such as "location: /login"
	Body       string   // the first line of the body, or the title or text of an HTML page

	AuthSchemes []string      // of a 401 response; see outbound.AuthSchemes
	RetryAfter  time.Duration // that the response asks for; see outbound.RetryAfter
	Authorized  bool          // the handshake had an Authorization
	WantsTLS    bool          // the scheme was one without TLS, and the body says that the port is for TLS
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

// newHandshakeError returns an error with the parts of resp, the response to a handshake
// with header at u, that may explain it. It masks secrets, because the peer may repeat
// them.
func newHandshakeError(resp *http.Response, u *url.URL, header http.Header) *HandshakeError {
	secrets := secrets(u, header)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxResponseBody))
	status := fmt.Sprintf("%d %s", resp.StatusCode, cmp.Or(http.StatusText(resp.StatusCode), "unknown status"))
	title, text := "", string(body)
	if isHTML(resp.Header, body) {
		title, text = pageText(body, status, resp.Status)
	}
	var headers []string
	for _, name := range []string{"Location", "WWW-Authenticate", "Retry-After"} {
		if value := resp.Header.Get(name); value != "" {
			headers = append(headers, strings.ToLower(name)+": "+netdiag.Line(secrets.Mask(value), maxResponseText))
		}
	}
	return &HandshakeError{
		Headers:     headers,
		StatusCode:  resp.StatusCode,
		Status:      status,
		Server:      netdiag.Line(secrets.Mask(resp.Header.Get("Server")), maxResponseText),
		Body:        netdiag.Line(secrets.Mask(cmp.Or(title, text)), maxResponseText),
		AuthSchemes: outbound.AuthSchemes(resp.Header.Values("WWW-Authenticate")),
		RetryAfter:  outbound.RetryAfter(resp.StatusCode, resp.Header),
		Authorized:  header.Get("Authorization") != "",
		WantsTLS:    !isSecure(u) && resp.StatusCode/100 == 4 && wantsTLS.MatchString(title+" "+text),
	}
}

// wantsTLS matches the answers to HTTP on a port for TLS of nginx and Go ("HTTPS"), Apache
// ("SSL-enabled"), and Tomcat ("requires TLS"), but no URLs.
var wantsTLS = regexp.MustCompile(`(?i)\b(https|ssl|tls)\b([^:]|$)`)

// secrets returns the secrets of a handshake: the password and the query of u, and nearly
// all words of header.
func secrets(u *url.URL, header http.Header) *escape.Secrets {
	s := &escape.Secrets{Min: minSecret}
	s.AddURL(u.String())
	s.AddHeader(header)
	return s
}
