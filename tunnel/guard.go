package tunnel

import (
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Guard keeps web pages away from an HTTP handler: a page must not reach the
// tunnel through the browser of a user who has access to it. The zero value
// refuses every request with an Origin.
type Guard struct {
	// Origins are the values of the Origin header (RFC 6454) that are allowed;
	// "*" allows any. 403 for others. A request without an Origin comes from no
	// page and is allowed. Default: none.
	Origins []string

	// LoopbackHost demands that the Host header names a loopback address or
	// localhost: for loopback listeners, against a page whose name resolves to
	// 127.0.0.1 (DNS rebinding). 403 otherwise.
	LoopbackHost bool

	// Logger receives refused requests, at warn level. Default: discarded.
	Logger *slog.Logger
}

// Handler returns a handler that passes the requests that g allows to next, and
// answers the others itself.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := g.check(r); refusal != nil {
			orDiscard(g.Logger).Warn("request refused", refusal.attrs(r)...)
			refusal.answer(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check returns why g refuses r, or nil.
func (g *Guard) check(r *http.Request) *RefusalError {
	if g.LoopbackHost && !isLoopbackHost(r.Host) {
		return refuse(http.StatusForbidden, "host %.100q is not a loopback address", r.Host)
	}
	if !g.allows(r.Header["Origin"]) {
		return refuse(http.StatusForbidden, "origin %.100q is not allowed", r.Header.Get("Origin"))
	}
	return nil
}

func (g *Guard) allows(origins []string) bool {
	return slices.Contains(g.Origins, "*") ||
		!slices.ContainsFunc(origins, func(origin string) bool { return !slices.Contains(g.Origins, origin) })
}

// isLoopbackHost reports whether a Host header names this machine to itself.
func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}
