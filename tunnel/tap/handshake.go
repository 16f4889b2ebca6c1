package tap

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel"
)

const (
	// handshakeTimeout is how long the target may take to respond.
	handshakeTimeout = 30 * time.Second

	// maxResponse bounds the response to a handshake, in bytes.
	maxResponse = 1 << 20
)

// checkRequest returns a refusal of requests that RFC 6455 §4.1 excludes and that
// programs may delimit differently.
func checkRequest(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet:
		return &tunnel.RefusalError{Code: http.StatusMethodNotAllowed, Err: errors.New("the method of a handshake is GET")}
	case r.ContentLength != 0:
		return &tunnel.RefusalError{Code: http.StatusBadRequest, Err: errors.New("a handshake has no body")}
	}
	return nil
}

// rewrite returns the head of r for the target, with the header lines of own. The bytes of
// all other lines stay as they are.
func (t *Tap) rewrite(r *http.Request, head []byte, own http.Header) ([]byte, error) {
	u, own, err := tunnel.HandshakeRequest(t.URL, own)
	if err != nil {
		return nil, err
	}
	if own["Host"] == nil {
		own.Set("Host", u.Host)
	}
	var out bytes.Buffer
	out.WriteString(requestLine(r, u))
	isKept := false
	_, lines, _ := bytes.Cut(bytes.TrimSuffix(head, []byte("\r\n")), []byte("\n"))
	for line := range bytes.Lines(lines) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		canonical := http.CanonicalHeaderKey(string(name))
		values, isReplaced := own[canonical]
		if line[0] != ' ' && line[0] != '\t' { // not another line of the same header
			isKept = !isReplaced && (canonical != "Sec-Websocket-Extensions" || t.KeepExtensions)
		}
		switch {
		case isKept:
			out.Write(line)
		case isReplaced:
			writeHeader(&out, string(name), values)
			own[canonical] = nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		writeHeader(&out, name, own[name])
	}
	out.WriteString("\r\n")
	return out.Bytes(), nil
}

func writeHeader(out *bytes.Buffer, name string, values []string) {
	for _, value := range values {
		fmt.Fprintf(out, "%s: %s\r\n", name, value)
	}
}

// requestLine returns the request line of r with the path and the query of u, if it has
// them.
func requestLine(r *http.Request, u *url.URL) string {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = r.URL.RequestURI() // without scheme and host (RFC 9112 §3.2.2)
	}
	path, query, _ := strings.Cut(target, "?")
	if p := u.EscapedPath(); p != "" && p != "/" {
		path = p
	}
	if query = cmp.Or(u.RawQuery, query); query != "" || strings.HasSuffix(target, "?") {
		path += "?" + query
	}
	return r.Method + " " + path + " " + r.Proto + "\r\n"
}

// handshake passes the request on, and the response back. If that is 101 (Switching
// Protocols), it returns the bytes after it that have also been passed back, and otherwise
// an error.
func (s *Session) handshake(request []byte) (first []byte, err error) {
	deadline := time.Now().Add(handshakeTimeout)
	_ = s.accepting.SetDeadline(deadline)
	_ = s.dialing.SetDeadline(deadline)
	defer func() {
		_ = s.accepting.SetDeadline(time.Time{})
		_ = s.dialing.SetDeadline(time.Time{})
	}()
	if _, err := s.accepting.Write(request); err != nil {
		return nil, fmt.Errorf("write to the target: %w", err)
	}
	passed := &io.LimitedReader{R: io.TeeReader(s.accepting, s.dialing), N: maxResponse}
	in := bufio.NewReader(passed)
	for {
		response, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
		switch {
		case err != nil && passed.N == 0:
			return nil, errors.New("the response of the target is too long")
		case err != nil:
			return nil, fmt.Errorf("response of the target: %w", err)
		case response.StatusCode == http.StatusSwitchingProtocols:
			first, _ = in.Peek(in.Buffered())
			return first, nil
		case response.StatusCode < http.StatusOK:
			continue // an interim response (RFC 9110 §15.2)
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return nil, errors.Join(fmt.Errorf("the target answered %s", response.Status), err)
	}
}
