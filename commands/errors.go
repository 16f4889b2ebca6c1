package commands

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/shell"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
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
	exitRelay = 20 // the layer of a relay failed
	exitInner = 21 // the layer of TLS up to the Worker failed

	exitRPC = 64 // plus the code of the gRPC status that an RPC ended with, as grpcurl
)

// commandError is the exit status of a command that wstun ran.
type commandError struct{ status int }

func (e *commandError) Error() string { return fmt.Sprintf("command ended with status %d", e.status) }

// rpcError says that an RPC ended with a status other than OK, which has been printed.
type rpcError struct{ code codes.Code }

func (e *rpcError) Error() string { return "rpc: " + e.code.String() }

// report prints err, unless that has been done, and returns its exit status.
func (p *program) report(err error) int {
	if ce, ok := errors.AsType[*commandError](err); ok {
		return ce.status // the command has printed its own errors
	}
	if re, ok := errors.AsType[*rpcError](err); ok {
		return exitRPC + int(re.code)
	}
	if le, ok := errors.AsType[*layerError](err); ok {
		return le.status // printed by check
	}
	if pe, ok := errors.AsType[*replayError](err); ok && pe.err == nil {
		return pe.status // the results are printed
	}
	if err == nil {
		return exitOK
	}
	for _, err := range joined(err) {
		fmt.Fprintf(p.stderr, "wstun: %s\n", escape.Line(err.Error()))
	}
	if h := cmp.Or(hint(err, p.given), dialHint(err)); h != "" {
		fmt.Fprintf(p.stderr, "wstun: hint: %s\n", escape.Line(h))
	}
	if p.out != nil {
		p.out.event("error", map[string]any{"message": err.Error(), "exit_status": exitStatus(err)})
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
	if pe, ok := errors.AsType[*replayError](err); ok {
		return pe.status
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
	if isRefusal(err) || endpoint.InnerRefused(err) {
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
