package outbound

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ParseURL parses the URL of a WebSocket. The scheme is ws, wss, http or https. The
// error contains no part of a password.
func ParseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	scheme, host, _ := splitURL(rawURL)
	switch {
	case !strings.Contains(rawURL, "://"):
		return nil, errors.New("the URL begins with no scheme: want ws://, wss://, http:// or https://")
	case err != nil && strings.Contains(rawURL, "@"):
		return nil, errors.New("the URL can't be read: special characters in user and password must be escaped")
	case err != nil && !slices.Contains(schemes, strings.ToLower(scheme)): // such as one after a quote
		return nil, unknownScheme(scheme)
	case withBrackets(host) != "":
		return nil, fmt.Errorf("the URL's host is %q: an IPv6 address needs brackets: want %s", host, withBrackets(host))
	case err != nil:
		return nil, fmt.Errorf("the URL can't be read: %w", errors.Unwrap(err)) // err.Error contains the URL
	case !slices.Contains(schemes, u.Scheme):
		return nil, unknownScheme(u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	case strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "["):
		return nil, fmt.Errorf("the URL's host is %q: want host:port", u.Host)
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && !isPort(u.Port()):
		return nil, fmt.Errorf("the URL's port is %q: want 1 to 65535", u.Port())
	case u.Fragment != "":
		return nil, errors.New("the URL has a fragment, which a WebSocket's can't have (RFC 6455 §3)")
	}
	if _, err := ASCIIHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("the URL's host is %w", err)
	}
	return u, nil
}

// schemes are those of the URLs of WebSockets.
var schemes = []string{"ws", "wss", "http", "https"}

func unknownScheme(scheme string) error {
	return fmt.Errorf("unknown URL scheme %q: want ws, wss, http or https", scheme)
}

// isPort reports whether text is a number from 1 to 65535.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// RedactURL returns rawURL, as given, without its user, password and query, which may be
// secret. [url.Parse] must accept rawURL and find a scheme and a host in it.
func RedactURL(rawURL string) string {
	scheme, host, path := splitURL(rawURL)
	return scheme + "://" + host + path
}

// splitURL returns parts of a URL without decoding them, unlike [url.Parse]. host has the
// port.
func splitURL(rawURL string) (scheme, host, path string) {
	rawURL, _, _ = strings.Cut(rawURL, "#")
	rawURL, _, _ = strings.Cut(rawURL, "?")
	scheme, rest, _ := strings.Cut(rawURL, "://")
	host, path, ok := strings.Cut(rest, "/")
	if ok {
		path = "/" + path
	}
	return scheme, host[strings.LastIndexByte(host, '@')+1:], path
}
