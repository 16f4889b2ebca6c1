package commands

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/shell"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// The exit statuses. A command that wstun dial runs adds its own.
const (
	exitOK        = 0
	exitError     = 1 // runtime error
	exitUsage     = 2 // wrong flags or arguments
	exitRefused   = 3 // the peer or the proxy refused the credentials
	exitNoSession = 4 // no session

	exitLayer = 10 // plus the number of the layer that failed, of check

	exitRPC = 64 // plus the code of the gRPC status that an RPC ended with, as grpcurl
)

// commandError is the exit status of a command that wstun ran.
type commandError struct{ status int }

func (e *commandError) Error() string { return fmt.Sprintf("command ended with status %d", e.status) }

// rpcError says that an RPC ended with a status other than OK, which has been printed.
type rpcError struct{ code codes.Code }

func (e *rpcError) Error() string { return "rpc: " + e.code.String() }

// report prints err, unless that has been done, and returns its exit status.
func report(stderr io.Writer, err error) int {
	if ce, ok := errors.AsType[*commandError](err); ok {
		return ce.status // the command has printed its own errors
	}
	if re, ok := errors.AsType[*rpcError](err); ok {
		return exitRPC + int(re.code)
	}
	if le, ok := errors.AsType[*layerError](err); ok {
		return le.status // printed by check
	}
	if err == nil {
		return exitOK
	}
	for _, err := range joined(err) {
		fmt.Fprintf(stderr, "wstun: %s\n", escape.Line(err.Error()))
	}
	if h := cmp.Or(hint(err), dialHint(err)); h != "" {
		fmt.Fprintf(stderr, "wstun: hint: %s\n", escape.Line(h))
	}
	return exitStatus(err)
}

// joined returns the errors that errors.Join has joined to err, if err adds no text of its
// own, and otherwise err.
func joined(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if list, ok := e.(interface{ Unwrap() []error }); ok && errors.Join(list.Unwrap()...).Error() == err.Error() {
			return list.Unwrap()
		}
	}
	return []error{err}
}

func exitStatus(err error) int {
	if se, ok := errors.AsType[*shell.StatusError](err); ok {
		return exitRPC + int(se.Status.Code())
	}
	if _, ok := errors.AsType[*usage.Error](err); ok {
		return exitUsage
	}
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok && he.Refused() {
		return exitRefused
	}
	if pe, ok := errors.AsType[*outbound.ProxyError](err); ok && pe.Refused() {
		return exitRefused
	}
	if _, ok := errors.AsType[*tunnel.GaveUpError](err); ok {
		return exitNoSession
	}
	if errors.Is(err, tunnel.ErrNoSession) {
		return exitNoSession
	}
	return exitError
}

// hint returns advice on err, "" if there is none.
func hint(err error) string {
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
		return proxyHint(pe) // the errors that it wraps are not about the peer
	}
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok {
		return handshakeHint(he)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the authority's certificate with --cacert, or go without verification with --insecure"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "name the host that the certificate is for with --servername"
	}
	if ie, ok := errors.AsType[x509.CertificateInvalidError](err); ok && ie.Reason == x509.Expired {
		return "check this machine's clock, and have the peer's certificate renewed; --insecure goes without verification"
	}
	if netdiag.NotTLS(err) {
		return "the peer doesn't speak TLS: try ws:// instead of wss://"
	}
	if strings.Contains(netdiag.Alert(err), "certificate") {
		return "the peer wants a client certificate that it trusts: give it with --cert and --key"
	}
	switch {
	case errors.Is(err, tunnel.ErrHTTP2):
		return "to call a gRPC server itself, give its host:port without ws://; a session needs the URL of a WebSocket"
	case errors.Is(err, tunnel.ErrTLS):
		return hintWSS
	case strings.Contains(err.Error(), backend.ErrBothClients.Error()): // from the peer
		return "the peer calls and doesn't serve: serve it with wstun serve"
	case errors.Is(err, syscall.ENOENT) && isDial(err):
		return "there is no such socket: is the server running, and is the path right?"
	case errors.Is(err, syscall.ECONNREFUSED):
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

const hintWSS = "the peer speaks TLS: try wss:// instead of ws://"

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

func handshakeHint(he *tunnel.HandshakeError) string {
	switch {
	case he.StatusCode == http.StatusUnauthorized:
		return "give the peer's token with --token-file or WSTUN_TOKEN, and the header that it expects with --token-header"
	case he.StatusCode == http.StatusForbidden:
		return "check the token (--token-file, --token-header), the client certificate (--cert) and the URL's host"
	case he.StatusCode == http.StatusNotFound:
		return "check the URL's path; many Workers accept at /v1/ws/sync"
	case he.StatusCode == http.StatusBadRequest && strings.Contains(he.Body, "HTTPS"):
		return hintWSS
	case he.StatusCode >= 300 && he.StatusCode < 400:
		return "the peer is elsewhere, or demands a login first: use the URL in its answer, if that is a WebSocket's"
	case he.StatusCode == http.StatusBadGateway, he.StatusCode == http.StatusServiceUnavailable, he.StatusCode == http.StatusGatewayTimeout:
		return "a proxy in front of the peer answers, or the peer is overloaded: is the peer running?"
	case he.StatusCode == http.StatusOK, he.StatusCode == http.StatusUpgradeRequired:
		return "the server there has no WebSocket: check the URL's host, port and path"
	}
	return ""
}

func proxyHint(pe *outbound.ProxyError) string {
	if netdiag.NotTLS(pe.Err) {
		return "the proxy doesn't speak TLS: try http:// for it"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](pe.Err); ok {
		return "name the authority of the proxy's certificate with --cacert"
	}
	switch {
	case pe.Refused():
		return "put user and password into the proxy's URL, in --proxy or HTTPS_PROXY: http://user:password@host:port"
	case pe.StatusCode == http.StatusForbidden, pe.StatusCode == http.StatusMethodNotAllowed:
		return "the proxy doesn't allow this host or port; many allow only port 443"
	case pe.StatusCode >= http.StatusInternalServerError:
		return "the proxy can't reach the peer"
	}
	return "check the proxy's URL in --proxy or HTTPS_PROXY; --proxy none goes without one"
}
