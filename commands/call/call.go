// Package call calls methods of a gRPC server that are known by their descriptors
// only: the engine behind wstun list, describe, call and shell.
//
//	target := &call.Target{Conn: cc, Catalog: reflection.NewCatalog(reflection.FromServer(cc, nil))}
//	method, err := target.Method(ctx, "Hub/Echo")
//	requests := call.NewRequests(os.Stdin, call.JSON, method.Types(ctx), nil)
//	printer := &call.Printer{Out: os.Stdout, Types: method.Types(ctx)}
//	result, err := call.Invoke(ctx, target.Conn, method, requests, nil, printer.Events())
//	if err == nil && result.Status.Code() != codes.OK {
//		printer.Status(os.Stderr, result.Status)
//	}
//
// Descriptors are asked for when they are needed and remembered until
// [reflection.Catalog.Refresh]; what to complete names with is in
// [reflection.Catalog.Symbols] and [Fields].
//
// Lifetimes: a call has ended when [Invoke] returns, also on the wire; nothing here
// runs in the background, except that a read which [Requests] has begun goes on until
// its reader yields. The connection and what is read from are the caller's to close.
//
// Concurrency: a Target may be used concurrently, for several calls at a time.
// Requests and a Printer are for one call at a time.
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

// SetByGRPC reports whether name is metadata that gRPC sets itself: it silently sends
// none of that name that a caller gives.
func SetByGRPC(name string) bool {
	switch strings.ToLower(name) {
	case "content-type", "user-agent", "te", "grpc-encoding", "grpc-message", "grpc-message-type", "grpc-status", "grpc-timeout":
		return true
	}
	return false
}

// Target is a gRPC server and what is known of it.
type Target struct {
	// Conn carries the calls. Made with DialOptions, it lets results tell the
	// sizes on the wire.
	Conn grpc.ClientConnInterface

	// Catalog has the descriptors: the server's own, local ones, or both.
	Catalog *reflection.Catalog
}

// Method returns the method that a user means; see [reflection.Catalog.Resolve],
// also for the error.
func (t *Target) Method(ctx context.Context, name string) (*Method, error) {
	s, err := t.Catalog.Resolve(ctx, reflection.Method, name)
	if err != nil {
		return nil, err
	}
	m := &Method{s.Descriptor.(protoreflect.MethodDescriptor), s.Types} //nolint:errcheck // as asked for
	for _, md := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
		if md.IsPlaceholder() {
			return nil, fmt.Errorf("%s can't be called: there is no descriptor of %s", reflection.Name(m), md.FullName())
		}
	}
	return m, nil
}

// Methods returns those of a service, in the order of their declaration. The
// service's name may be short, as a method's.
func (t *Target) Methods(ctx context.Context, service string) ([]*Method, error) {
	s, err := t.Catalog.Resolve(ctx, reflection.Service, service)
	if err != nil {
		return nil, err
	}
	list := s.Descriptor.(protoreflect.ServiceDescriptor).Methods() //nolint:errcheck // as asked for
	methods := make([]*Method, list.Len())
	for i := range methods {
		methods[i] = &Method{list.Get(i), s.Types}
	}
	return methods, nil
}

// Method is a method and the types of its messages.
type Method struct {
	protoreflect.MethodDescriptor

	// Types finds the types in a google.protobuf.Any and the extensions. It may
	// ask the server while it's used, until ctx ends.
	Types func(ctx context.Context) reflection.TypeResolver
}

// Options adjusts a call. Its zero value and nil mean the defaults.
type Options struct {
	// Metadata is sent with the call. Default: none.
	Metadata metadata.MD

	// MaxMsgSize is how large a response may be, in bytes; a larger one ends the
	// call with ResourceExhausted. Default: DefaultMaxMsgSize.
	MaxMsgSize int

	// Count ends the call after that many responses, with success. 0: the server
	// ends it.
	Count int
}

// DefaultMaxMsgSize is the default of Options.MaxMsgSize: 64 MiB.
const DefaultMaxMsgSize = 64 * 1024 * 1024

// Events is who is told what happens in a call. Functions may be nil. They are
// called one at a time, in the order of what happens, and hold up the call.
type Events struct {
	// Sending is called before the call begins.
	Sending func(m *Method, md metadata.MD)

	// Headers is called when the server's headers have come, or, without any
	// (nil), when it has ended the call.
	Headers func(md metadata.MD)

	// Message is called for each response. An error cancels the call, and Invoke
	// returns it.
	Message func(r *Response) error

	// End is called when the call has ended, unless Invoke returns an error.
	End func(r *Result)
}

// Requests yields the messages that a call sends.
type Requests interface {
	// Next fills in m, which is empty. It waits until there is a message, there are
	// no more (io.EOF), or ctx ends.
	Next(ctx context.Context, m protoreflect.ProtoMessage) error

	// More reports, without waiting for it to come, whether there is something
	// left to send.
	More() bool
}

// None is the Requests that has none.
var None Requests = none{}

type none struct{}

func (none) Next(context.Context, protoreflect.ProtoMessage) error { return io.EOF }
func (none) More() bool                                            { return false }
