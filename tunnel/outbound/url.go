package outbound

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// ParseURL parses the URL of a WebSocket. The scheme is ws, wss, http or https. The
// error contains no part of a password.
func ParseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case !strings.Contains(rawURL, "://"):
		return nil, errors.New("the URL begins with no scheme: want ws://, wss://, http:// or https://")
	case err != nil && strings.Contains(rawURL, "@"):
		return nil, errors.New("the URL can't be read: special characters in user and password must be escaped")
	case err != nil:
		return nil, fmt.Errorf("the URL can't be read: %w", errors.Unwrap(err)) // err.Error contains the URL
	case u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("unknown URL scheme %q: want ws, wss, http or https", u.Scheme)
	case u.Host == "":
		return nil, errors.New("the URL names no host")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && !isPort(u.Port()):
		return nil, fmt.Errorf("the URL's port is %q: want 1 to 65535", u.Port())
	case u.Fragment != "":
		return nil, errors.New("the URL has a fragment, which a WebSocket's can't have (RFC 6455 §3)")
	}
	return u, nil
}

// isPort reports whether text is a number from 1 to 65535.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// RedactURL returns u without its user, password and query, which may be secret.
func RedactURL(u *url.URL) string {
	r := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return r.String()
}
