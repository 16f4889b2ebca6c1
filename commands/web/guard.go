// Package web protects wstun's HTTP servers from web pages, other users of the machine, and
// clients with too many requests.
//
//	g := &web.Guard{Token: token, OpenPaths: []string{"/healthz"}}
//	server := web.NewServer(g.Handler(mux), logger)
//
// A page of another site can make a user's browser send requests to wstun. So a Guard checks
// the Host header, which defeats DNS rebinding, and the headers with which browsers say where
// a request is from (https://www.w3.org/TR/fetch-metadata/). The token keeps out other users
// of the machine, because they can reach its loopback addresses, too. It isn't a cookie:
// browsers send those to every port of a host.
package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wstun/wstun/tunnel"
)

// Guard checks requests.
type Guard struct {
	// Hosts are the values of the Host header that are allowed, with or without a port,
	// besides localhost and loopback addresses, which are allowed if Loopback is set.
	// Others get 421.
	Hosts    []string
	Loopback bool

	// AnyHost allows any Host header: for unix sockets, which no web page can reach.
	AnyHost bool

	// AnyHostPaths are the paths at which AnyHost applies, for health checks by IP address.
	AnyHostPaths []string

	// Token returns the token, which requests must have as Authorization: Bearer (RFC 6750);
	// others get 401. Default: no token is needed.
	Token func() string

	// OpenPaths are the paths that need no token.
	OpenPaths []string
}

// csp lets the page load its own files and nothing else, and no script can turn text into
// markup (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/).
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// maxBody is the largest body of a request, in bytes.
const maxBody = 1 << 20

// Handler returns a handler that passes the requests that g allows to next, with bodies of
// at most 1 MiB.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if code, reason := g.check(r); code != 0 {
			if code == http.StatusUnauthorized {
				h.Set("WWW-Authenticate", `Bearer realm="wstun"`)
			}
			http.Error(w, "wstun: "+reason, code)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// check returns the status and the reason of a refusal, or 0.
func (g *Guard) check(r *http.Request) (code int, reason string) {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case !g.AnyHost && !slices.Contains(g.AnyHostPaths, r.URL.Path) && !g.allowsHost(r.Host):
		return http.StatusMisdirectedRequest, "this name isn't allowed in the Host header"
	case isFromElsewhere(r):
		return http.StatusForbidden, "a request from another site"
	case !read && r.Method != http.MethodDelete && !isJSON(r):
		return http.StatusUnsupportedMediaType, "want Content-Type: application/json"
	case g.Token != nil && !slices.Contains(g.OpenPaths, r.URL.Path) && !g.hasToken(r):
		return http.StatusUnauthorized, "want the token, as Authorization: Bearer"
	}
	return 0, ""
}

func (g *Guard) allowsHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return g.Loopback && tunnel.IsLoopbackHost(host) || slices.ContainsFunc(g.Hosts, func(allowed string) bool {
		return strings.EqualFold(allowed, host) || strings.EqualFold(allowed, name)
	})
}

// isFromElsewhere reports whether a browser sends r on behalf of another site's page. It isn't
// if a user follows a link to the page itself.
func isFromElsewhere(r *http.Request) bool {
	h := r.Header
	if origin := h.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	switch h.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	isLink := h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	return !isLink || r.Method != http.MethodGet || r.URL.Path != "/"
}

// isJSON reports whether the body of r is JSON: other sites' forms can't send that.
func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

func (g *Guard) hasToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(g.Token())), sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
