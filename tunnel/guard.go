package tunnel

import (
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Guard protects an HTTP handler from web pages, which could otherwise reach the tunnel
// through the browser of a user with access to it. The zero value refuses all requests
// with an Origin header.
type Guard struct {
	// Origins are the allowed values of the Origin header (RFC 6454), with hosts in ASCII
	// and lower case; "*" allows any.
	// Others get 403. Requests without an Origin header are allowed: browsers send one
	// with every WebSocket handshake (RFC 6455 §4.1). Default: none.
	Origins []string

	// LoopbackHost requires the Host header to be a loopback address or localhost;
	// other requests get 403. Set it for loopback listeners, against pages whose host
	// name resolves to 127.0.0.1 (DNS rebinding).
	LoopbackHost bool

	// Logger logs refused requests at warn level; of many from one host for the same
	// reason, only one every ten seconds. Default: nothing is logged.
	Logger *slog.Logger
}

// Handler returns a handler that passes allowed requests to next and refuses the
// others.
func (g *Guard) Handler(next http.Handler) http.Handler {
	problems := newPeerLog(g.Logger)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := g.check(r); refusal != nil {
			problems.warn("request refused", r.RemoteAddr, refusal.Error(), refusal.attrs(r)...)
			refusal.answer(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check returns a refusal of r, or nil to allow it.
func (g *Guard) check(r *http.Request) *RefusalError {
	if g.LoopbackHost && !IsLoopbackHost(r.Host) {
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

// IsLoopbackHost reports whether a Host header, with or without a port, is a loopback address
// or localhost.
func IsLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}
