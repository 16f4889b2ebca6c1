package commands

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/relay"
)

// hint returns advice on err, "" if there is none. It doesn't advise to give flags that are
// given.
func hint(err error, given usage.Given) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		return h.Hint()
	}
	if ne, ok := errors.AsType[*reflection.NameError](err); ok {
		return nameHint(ne)
	}
	if errors.Is(err, reflection.ErrNoReflection) {
		return "name the source of its services with --proto, or a compiled set with --protoset"
	}
	if de, ok := errors.AsType[*net.DNSError](err); ok && de.IsNotFound {
		return "there is no such host: check the name, and this machine's resolver"
	}
	if pe, ok := errors.AsType[*outbound.ProxyError](err); ok {
		return proxyHint(pe, given) // the errors that it wraps are not about the peer
	}
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok {
		return handshakeHint(he, given)
	}
	if h := endpoint.InnerHint(err, given); h != "" {
		return h
	}
	if h := tlsHint(err, given); h != "" {
		return h
	}
	switch {
	case websocket.IsCloseError(err, tunnel.CloseReplaced):
		return hintReplaced
	case websocket.IsCloseError(err, relay.CloseExpired):
		return "get a new token or certificate: each dial reads the files of --token-file and --cert again"
	case errors.Is(err, tunnel.ErrHTTP2):
		return "to call a gRPC server itself, give its host:port without ws://; a session needs the URL of a WebSocket"
	case errors.Is(err, tunnel.ErrTLS):
		return hintWSS
	case strings.Contains(err.Error(), backend.ErrBothClients.Error()): // from the peer
		return "the peer calls and doesn't serve: serve it with wstun serve"
	case errors.Is(err, syscall.ENOENT) && isDial(err):
		return "there is no such socket: is the server running, and is the path right?"
	case netdiag.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the peer running, and is the port right?"
	case errors.Is(err, context.DeadlineExceeded):
		return "allow more time with --connect-timeout, or check the network to the peer"
	}
	return ""
}

// dialHint returns the command that examines a failed dial.
func dialHint(err error) string {
	de, ok := errors.AsType[*tunnel.DialError](err)
	if !ok {
		return ""
	}
	return target.CheckHint(de.URL)
}

// tokenFlag is the key in usage.Given of a token, in a file or in WSTUN_TOKEN.
const tokenFlag = "token-file"

const hintWSS = "the peer speaks TLS: try wss:// instead of ws://"

const hintReplaced = "another process is the worker with this --name: stop one of them, or choose another name"

const hintExpired = "get a new token from its issuer: each dial reads the file of --token-file again"

// isDial reports whether connecting a socket failed with err.
func isDial(err error) bool {
	oe, ok := errors.AsType[*net.OpError](err)
	return ok && oe.Op == "dial"
}

func nameHint(ne *reflection.NameError) string {
	switch {
	case len(ne.Candidates) > 0:
		return "it may be " + orList(ne.Candidates)
	case len(ne.Suggestions) > 0:
		return "did you mean " + orList(ne.Suggestions) + "?"
	}
	return "wstun list and wstun describe show the names"
}

// orList joins names to "a, b or c".
func orList(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// tlsHint is hint for errors of TLS with the peer.
func tlsHint(err error, given usage.Given) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if given.Set("cacert") {
			return "another authority than that of --cacert has issued the peer's certificate: check the file, or go without verification with --insecure"
		}
		return "name the authority's certificate with --cacert, or go without verification with --insecure"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		if given.Set("servername") {
			return "check the name in --servername: the certificate is for another one"
		}
		return "name the host that the certificate is for with --servername"
	}
	if ie, ok := errors.AsType[x509.CertificateInvalidError](err); ok && ie.Reason == x509.Expired {
		return "check this machine's clock, and have the peer's certificate renewed; --insecure goes without verification"
	}
	if netdiag.NotTLS(err) {
		return "the peer doesn't speak TLS: try ws:// instead of wss://"
	}
	if strings.Contains(netdiag.Alert(err), "certificate") {
		if given.Set("cert") {
			return "the peer doesn't trust the client certificate of --cert: check its authority, and whether it has expired"
		}
		return "the peer wants a client certificate that it trusts: give it with --cert and --key"
	}
	return ""
}

func handshakeHint(he *tunnel.HandshakeError, given usage.Given) string {
	switch {
	case he.WantsTLS:
		return hintWSS
	case he.StatusCode == http.StatusUnauthorized:
		return unauthorizedHint(he, given)
	case he.StatusCode == http.StatusForbidden && strings.Contains(he.Body, "is not a loopback address"):
		return "the peer accepts on loopback alone: have the proxy in front of it send the Host of a loopback address, such as localhost"
	case he.StatusCode == http.StatusForbidden && (strings.Contains(he.Body, " may not serve ") || strings.Contains(he.Body, " may not dial ")):
		return "the relay's policy has the names that a token or certificate may serve and dial: use another one, or have the policy changed"
	case he.StatusCode == http.StatusForbidden && !given.Set(tokenFlag) && !given.Set("cert") && !he.Authorized:
		return "the peer may want a token (--token-file, --token-header) or a client certificate (--cert), or refuse the URL's host"
	case he.StatusCode == http.StatusForbidden:
		return "check the token (--token-file, --token-header), the client certificate (--cert) and the URL's host"
	case he.StatusCode == http.StatusNotFound && strings.Contains(he.Body, "isn't connected"):
		return "check the name after --to, as wstun workers prints it, and that the worker runs wstun serve with this --name at the same relay"
	case he.StatusCode == http.StatusConflict && strings.Contains(he.Body, "another instance"):
		return hintReplaced
	case he.StatusCode == http.StatusBadRequest && strings.Contains(he.Body, "this is a relay"):
		return "name the worker with --to, or this worker with --name, and leave its path out of the URL"
	case he.StatusCode == http.StatusNotFound && strings.Contains(he.Body, "a relay's path"):
		return "name the worker with --to, or this worker with --name, and give the relay's URL with the path that is its --path"
	case he.StatusCode == http.StatusNotFound:
		return "check the URL's path; many Workers accept at /v1/ws/sync"
	case he.StatusCode >= 300 && he.StatusCode < 400:
		return "the peer is elsewhere, or demands a login first: use the URL in its answer, if that is a WebSocket's"
	case he.RetryAfter > 0:
		return "the peer wants no other dial for " + he.RetryAfter.Round(time.Second).String()
	case he.StatusCode == http.StatusTooManyRequests:
		return "the peer limits how often it is dialed, or the number of sessions: try again later, or end one of them"
	case he.StatusCode == http.StatusBadGateway, he.StatusCode == http.StatusServiceUnavailable, he.StatusCode == http.StatusGatewayTimeout:
		return "a proxy in front of the peer answers, or the peer is overloaded: is the peer running?"
	case he.StatusCode == http.StatusOK, he.StatusCode == http.StatusUpgradeRequired:
		return "the server there has no WebSocket: check the URL's host, port and path"
	}
	return ""
}

// unauthorizedHint is handshakeHint for status code 401.
func unauthorizedHint(he *tunnel.HandshakeError, given usage.Given) string {
	other := len(he.AuthSchemes) > 0 && !offers(he.AuthSchemes, "Bearer")
	switch {
	case strings.Contains(he.Body, "the token has expired"):
		return hintExpired
	case slices.Contains(he.Headers, `www-authenticate: Bearer error="invalid_token"`):
		return "the peer has received the token, and doesn't accept it: get another one from its issuer"
	case given.Set("token-header"):
		return "the peer refuses the token: check it, and the name in --token-header"
	case given.Set(tokenFlag):
		return "the peer refuses the token: check it, and the header that the peer expects, with --token-header"
	case he.Authorized:
		return "the peer refuses the user and password of the URL, or the Authorization of --header: check them"
	case given.Set("header"):
		return "check the credentials in --header, or give the peer's token with --token-file or WSTUN_TOKEN"
	case other && offers(he.AuthSchemes, "Basic"):
		return "put user and password into the URL: ws://user:password@host, or wss://"
	case other:
		return "the peer wants " + orList(he.AuthSchemes) + ", which wstun doesn't speak: if a fixed Authorization is enough, give it with --header"
	}
	return "give the peer's token with --token-file or WSTUN_TOKEN, and the header that it expects with --token-header"
}

func offers(schemes []string, scheme string) bool {
	return slices.ContainsFunc(schemes, func(s string) bool { return strings.EqualFold(s, scheme) })
}

func proxyHint(pe *outbound.ProxyError, given usage.Given) string {
	source := "HTTPS_PROXY or HTTP_PROXY"
	if given.Set("proxy") {
		source = "--proxy"
	}
	if netdiag.NotTLS(pe.Err) {
		return "the proxy doesn't speak TLS: try http:// for it"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](pe.Err); ok {
		if given.Set("cacert") {
			return "neither the system nor --cacert has the authority of the proxy's certificate: check the file"
		}
		return "name the authority of the proxy's certificate with --cacert"
	}
	switch {
	case pe.Refused() && len(pe.AuthSchemes) > 0 && !offers(pe.AuthSchemes, "Basic"):
		return "the proxy wants " + orList(pe.AuthSchemes) + ", and wstun speaks only Basic: let the proxy accept Basic, or dial through a local proxy that speaks " + pe.AuthSchemes[0]
	case pe.Refused() && pe.WithUser:
		return "the proxy refuses the user and password: check them in " + source
	case pe.Refused():
		return "put user and password into the proxy's URL, in " + source + ": " + strings.Replace(pe.Proxy, "://", "://user:password@", 1)
	case pe.StatusCode == http.StatusForbidden, pe.StatusCode == http.StatusMethodNotAllowed:
		return "the proxy doesn't allow this host or port; many allow only port 443"
	case pe.RetryAfter > 0:
		return "the proxy wants no other dial for " + pe.RetryAfter.Round(time.Second).String()
	case pe.StatusCode >= http.StatusInternalServerError:
		return "the proxy can't reach the peer"
	}
	return "check the proxy's URL in " + source + "; --proxy none goes without one"
}
