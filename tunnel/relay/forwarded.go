package relay

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// trusts reports whether the header of a request from remote, an address with a port, may
// describe another client.
func (r *Relay) trusts(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && r.trustsAddr(addr.Addr())
}

func (r *Relay) trustsAddr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(r.opts.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// client returns the address of the client of req: that of the connection, or if a trusted
// proxy has sent req, the last address in X-Forwarded-For that isn't a trusted proxy's.
func (r *Relay) client(req *http.Request) string {
	client := req.RemoteAddr
	if !r.trusts(client) {
		return client
	}
	list := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(list) {
		addr, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		client = addr.String()
		if !r.trustsAddr(addr) {
			break
		}
	}
	return client
}
