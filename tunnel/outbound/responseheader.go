package outbound

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxSchemes and maxSchemeName bound the result of AuthSchemes.
	maxSchemes    = 8
	maxSchemeName = 32

	// MaxRetryAfter is the longest result of RetryAfter.
	MaxRetryAfter = 5 * time.Minute
)

// AuthSchemes returns the names of the authentication schemes in the values of
// WWW-Authenticate or Proxy-Authenticate, such as "Basic" and "Negotiate" (RFC 9110
// §11.6.1), in their order and without their parameters: at most eight.
func AuthSchemes(values []string) []string {
	var names []string
	for _, value := range values {
		for _, part := range splitList(value) {
			name, rest, _ := strings.Cut(part, " ")
			if strings.HasPrefix(strings.TrimSpace(rest), "=") || len(name) > maxSchemeName || !httpguts.ValidHeaderFieldName(name) {
				continue // a parameter of the previous scheme, or no scheme
			}
			if len(names) < maxSchemes && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// splitList splits a list at its commas, except those in quoted strings (RFC 9110 §5.6).
func splitList(list string) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++ // the next character is escaped
		case c == ',' && !quoted:
			parts = append(parts, strings.TrimSpace(list[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(list[start:]))
}

// RetryAfter returns how long a response with the given status code and header asks to
// wait before the next request: with 429 or 503, the seconds or the time of Retry-After
// (RFC 9110 §10.2.3), at most MaxRetryAfter; otherwise 0. A time counts from Date, if there
// is one, because the clocks may differ.
func RetryAfter(code int, header http.Header) time.Duration {
	if code != http.StatusTooManyRequests && code != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(MaxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
