// Package call calls gRPC methods by their descriptors, without generated code. It
// implements the calls of wstun list, describe, call and shell.
//
//	target := &call.Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromServer(cc, nil))}
//	method, err := target.Method(ctx, "Hub/Echo")
//	requests := call.NewRequests(os.Stdin, message.JSON, method.Types(ctx), nil)
//	printer := &call.Printer{Out: os.Stdout, Types: method.Types(ctx)}
//	result, err := call.Invoke(ctx, target.Conn, method, requests, nil, printer.Events())
//	if err == nil && result.Status.Code() != codes.OK {
//		printer.Status(ctx, os.Stderr, result.Status)
//	}
//
// The Catalog fetches descriptors when needed and caches them until
// [reflection.Catalog.Refresh]. For completion, see [reflection.Catalog.Symbols] and
// [Fields].
//
// Lifetimes: when [Invoke] returns, the call has ended, also on the wire. The package has
// no background goroutines, except that a Read started by [Requests] continues until the
// reader returns. The caller closes the connection and the reader.
//
// Concurrency: a Target may be used by several calls at a time, Requests and a Printer by
// one call at a time.
package call

import (
	"context"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

// Reserved returns why a call can't have metadata with that name, "" if it can. gRPC
// silently drops values that it sets itself.
func Reserved(name string) string {
	switch strings.ToLower(name) {
	case "content-type", "user-agent", "te", "grpc-encoding", "grpc-message", "grpc-message-type", "grpc-status", "grpc-timeout":
		return "gRPC sets it"
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return "HTTP/2 doesn't allow it (RFC 9113 §8.2.2)"
	case "content-length":
		return "it would contradict the messages' length (RFC 9113 §8.1.1)"
	}
	return ""
}

// CheckMetadata returns an error if gRPC can't send metadata with that name and value. The
// error doesn't contain the value, which may be a secret.
func CheckMetadata(name, value string) error {
	for _, c := range strings.ToLower(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", c) {
			return fmt.Errorf("%q: want letters, digits, -, _ and . in a name", name)
		}
	}
	isASCII := !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' })
	if !isASCII && !strings.HasSuffix(strings.ToLower(name), "-bin") {
		return fmt.Errorf("%s: want printable ASCII in a value, or a name that ends in -bin", name)
	}
	return nil
}

// Target is a gRPC server and its descriptors.
type Target struct {
	// Conn carries the calls. Results have the sizes on the wire only if it was
	// created with DialOptions.
	Conn grpc.ClientConnInterface

	// Catalog has the descriptors: the server's own, local ones, or both.
	Catalog *reflection.Catalog
}

// Method returns the method with that name, which may be short. For names and errors, see
// [reflection.Catalog.Resolve].
func (t *Target) Method(ctx context.Context, name string) (*Method, error) {
	s, err := t.Catalog.Resolve(ctx, reflection.Method, name)
	if err != nil {
		return nil, err
	}
	m := &Method{s.Descriptor.(protoreflect.MethodDescriptor), s.Types} //nolint:errcheck // Resolve returned this kind
	for _, md := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
		if md.IsPlaceholder() {
			err := fmt.Errorf("cannot call %s: no descriptor of %s", reflection.Name(m), md.FullName())
			if problem := s.Problem(md.FullName()); problem != "" {
				err = fmt.Errorf("%w: %s", err, problem)
			}
			return nil, err
		}
	}
	return m, nil
}

// Methods returns the methods of a service, in the order of their declaration. The
// service's name may be short.
func (t *Target) Methods(ctx context.Context, service string) ([]*Method, error) {
	s, err := t.Catalog.Resolve(ctx, reflection.Service, service)
	if err != nil {
		return nil, err
	}
	list := s.Descriptor.(protoreflect.ServiceDescriptor).Methods() //nolint:errcheck // Resolve returned this kind
	methods := make([]*Method, list.Len())
	for i := range methods {
		methods[i] = &Method{list.Get(i), s.Types}
	}
	return methods, nil
}

// Method is a method and the types of its messages.
type Method struct {
	protoreflect.MethodDescriptor

	// Types returns a resolver for the types in a google.protobuf.Any and the
	// extensions. The resolver may ask the server until ctx ends.
	Types func(ctx context.Context) reflection.TypeResolver
}

// Options are the options of a call. Nil means the defaults.
type Options struct {
	// Metadata is sent with the call. Default: none.
	Metadata metadata.MD

	// MaxMsgSize bounds a response, in bytes; a larger one ends the call with
	// ResourceExhausted. Default: DefaultMaxMsgSize.
	MaxMsgSize int

	// MaxResponses ends the call with success after that many responses. Default: no
	// limit.
	MaxResponses int
}

// DefaultMaxMsgSize is the default of Options.MaxMsgSize: 64 MiB.
const DefaultMaxMsgSize = 64 * 1024 * 1024

// Events are callbacks for the events of a call. Each may be nil. They are called one at
// a time, in order, and block the call.
type Events struct {
	// Sending is called before the call starts.
	Sending func(ctx context.Context, m *Method, md metadata.MD)

	// Headers is called when the response headers are received, or with nil when the
	// server ends the call without headers.
	Headers func(md metadata.MD)

	// Message is called for each response. An error cancels the call, and Invoke
	// returns it, except for the cause of ctx's end: then the status says that ctx
	// has ended.
	Message func(ctx context.Context, r *Response) error

	// End is called after the call has ended, unless Invoke returns an error.
	End func(ctx context.Context, r *Result)
}

// Requests is the source of the messages that a call sends.
type Requests interface {
	// Next fills in m, which is empty. It blocks until there is a message, there are
	// no more (io.EOF), or ctx ends.
	Next(ctx context.Context, m protoreflect.ProtoMessage) error

	// More reports, usually without blocking, whether there is more to send.
	More() bool
}

// NoRequests has no messages.
var NoRequests Requests = noRequests{}

type noRequests struct{}

func (noRequests) Next(context.Context, protoreflect.ProtoMessage) error { return io.EOF }
func (noRequests) More() bool                                            { return false }
