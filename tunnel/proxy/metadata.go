package proxy

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// splitMethod splits the :path of a call, /pkg.Service/Method, at its last
// slash, as gRPC does. The service is empty if there is none.
func splitMethod(path string) (service, method string) {
	path = strings.TrimPrefix(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// contentSubtype returns what follows application/grpc in a content-type:
// "json" of application/grpc+json, "" where there is nothing, or nothing that may
// stand in a header.
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

// hopByHop holds the headers that belong to one connection, or to the framing
// of one, and so are not passed on.
var hopByHop = map[string]bool{
	"connection":        true,
	"content-length":    true,
	"content-type":      true, // of its own on each hop, see contentSubtype
	"host":              true,
	"keep-alive":        true,
	"proxy-connection":  true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
	"upgrade":           true,
	"user-agent":        true, // gRPC sends its own and no other
}

// endToEnd holds the grpc- headers that are meant for the other end.
var endToEnd = map[string]bool{
	"grpc-previous-rpc-attempts": true, // of the caller's retries
	"grpc-retry-pushback-ms":     true, // what the upstream thinks of them
	"grpc-status-details-bin":    true, // as sent, where it holds no details
	"grpc-tags-bin":              true,
	"grpc-trace-bin":             true,
}

// strip removes from md what must not be passed on, and what gRPC would not
// send: a key or a value outside the characters it allows fails the whole call
// otherwise. It returns md, which it changes.
func strip(md metadata.MD) metadata.MD {
	for key, values := range md {
		if !forwarded(key) {
			delete(md, key)
			continue
		}
		if strings.HasSuffix(key, "-bin") {
			continue
		}
		kept := values[:0]
		for _, v := range values {
			if printable(v) {
				kept = append(kept, v)
			}
		}
		if md[key] = kept; len(kept) == 0 {
			delete(md, key)
		}
	}
	return md
}

// forwarded reports whether a header is passed on.
func forwarded(key string) bool {
	if key == "" || hopByHop[key] {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false // a pseudo-header, too
		}
	}
	return !strings.HasPrefix(key, "grpc-") || endToEnd[key]
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
