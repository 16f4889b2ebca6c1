package proxy

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// splitMethod splits the :path of a call, /pkg.Service/Method, at its last slash, like
// grpc-go. Without a second slash, the service is empty.
func splitMethod(path string) (service, method string) {
	path = strings.TrimPrefix(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// contentSubtype returns the subtype of a content-type, such as "json" for
// application/grpc+json. It returns "" if there is none or it isn't a valid header value.
func contentSubtype(contentType string) string {
	if strings.ContainsFunc(contentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	sub, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	if !ok || sub == "" || sub[0] != '+' && sub[0] != ';' {
		return ""
	}
	return sub[1:]
}

// hopByHop has the headers that apply to a single connection and are not forwarded.
var hopByHop = map[string]bool{
	"connection":        true,
	"content-length":    true,
	"content-type":      true, // each hop sets its own, see contentSubtype
	"host":              true,
	"keep-alive":        true,
	"proxy-connection":  true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
	"upgrade":           true,
	"user-agent":        true, // grpc-go always sends its own
}

// endToEnd has the grpc- headers that are forwarded.
var endToEnd = map[string]bool{
	"grpc-previous-rpc-attempts": true, // of the caller's retries
	"grpc-retry-pushback-ms":     true, // the upstream's answer to them
	"grpc-status-details-bin":    true, // even if it isn't a valid status
	"grpc-tags-bin":              true,
	"grpc-trace-bin":             true,
}

// filterMetadata removes entries of md that must not be forwarded, and those with keys or
// values that grpc-go rejects, which would fail the call. It modifies and returns md.
func filterMetadata(md metadata.MD) metadata.MD {
	for key, values := range md {
		if !forwardable(key) {
			delete(md, key)
			continue
		}
		if strings.HasSuffix(key, "-bin") {
			continue
		}
		kept := values[:0]
		for _, v := range values {
			if validValue(v) {
				kept = append(kept, v)
			}
		}
		if md[key] = kept; len(kept) == 0 {
			delete(md, key)
		}
	}
	return md
}

// forwardable reports whether a header may be forwarded.
func forwardable(key string) bool {
	if key == "" || hopByHop[key] {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false // includes pseudo-headers
		}
	}
	return !strings.HasPrefix(key, "grpc-") || endToEnd[key]
}

// validValue reports whether s has only printable ASCII characters.
func validValue(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
