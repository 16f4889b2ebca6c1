// Package stub answers gRPC calls from a YAML file, so that a gRPC client can
// be tested without the service it calls. It needs only the service's descriptors,
// no generated code.
//
//	answers, err := stub.Parse("hub.yaml", text, files)
//	if err != nil {
//		return err // one line for each mistake: hub.yaml:7: a rule cannot have the key "relpy"; did you mean "reply"?
//	}
//	server := grpc.NewServer(answers.ServerOption())
//	go server.Serve(listener)
//	...
//	answers.Close() // otherwise GracefulStop waits for streams that stay open
//	server.GracefulStop()
//
// # The file
//
// The file gives each method one rule or a list of rules. The first rule that
// matches the request answers the call:
//
//	methods:
//	  wstun.demo.v1.Hub/CreateKey:
//	    - when: {name: taken}
//	      error:
//	        code: ALREADY_EXISTS
//	        message: key "taken" already exists
//	        details:
//	          - '@type': type.googleapis.com/google.rpc.ResourceInfo
//	            resourceType: key
//	    - headers: {x-served-by: stub}
//	      reply: {name: k1, secret: s}
//	      trailers: {x-cost: "3"}
//
//	  wstun.demo.v1.Hub/WatchKeys:
//	    - when: {maxEvents: 1}
//	      stream:
//	        - reply: {snapshot: {}}
//	        - {delay: 2s, reply: {deleted: a}}
//	        - delay: 500ms
//	      error: {code: UNAVAILABLE, message: the Hub is restarting}
//	    - stream:
//	        - reply: {snapshot: {}}
//	        - {delay: 100ms, reply: {created: {name: a}}}
//	      stay_open: true
//
// A rule has these keys, which apply in this order:
//
//	when       the request to match; default: any request
//	delay      the time to wait before sending anything: 100ms, 1m30s
//	headers    the response headers, sent immediately: for each name, a string
//	           or a list of strings; base64 if the name ends in -bin
//	reply      one response, in the JSON form of its message
//	stream     many responses: each item has a delay, a reply or both
//	stay_open  true: keep the call open until the caller or [Stub.Close] ends it
//	error      the status of the call; default: OK. It has a code (name or
//	           number), a message, and details with their @type
//	trailers   the response trailers, in the form of headers
//
// when has the fields of the request to match, by their JSON or proto names.
// Fields that it doesn't have match anything; so do those of nested messages,
// and map entries. Lists must have the same length. A message, a oneof member
// or an optional field matches only if it is set; null matches an unset field.
// Well-known types with a JSON form of their own (Timestamp, Struct, Any, …)
// match as a whole. Extensions cannot be matched.
//
// The kind of RPC determines the valid keys and when a rule applies:
//
//	unary             answers the request with a reply or an error
//	server streaming  answers the request with a reply, a stream or neither
//	client streaming  answers the last request, after the caller has half-closed,
//	                  with a reply or an error. Only a rule without when
//	                  matches a call without requests
//	bidirectional     answers each request. The call ends when the caller
//	                  half-closes or with the first error. It sends the headers
//	                  of the first matching rule and the trailers of the last
//
// Aliases, merge keys (<<) and comments work. Quote numbers and booleans in
// string fields.
//
// # Statuses
//
// A call gets UNIMPLEMENTED, with a message that begins with "stub: ", if no
// rule matches its request or if the method isn't in the file. A waiting call
// ends when it is cancelled or its deadline passes.
package stub

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection/types"
)

// A Stub holds the answers of one file. It has no goroutines except those of calls, and
// may serve any number of servers. All methods may be called concurrently.
type Stub struct {
	files   *protoregistry.Files
	methods map[string]*method // by gRPC name: /pkg.Service/Method

	closeOnce sync.Once
	closed    chan struct{}
}

// Parse checks text against files and returns the Stub for it. name is the file's name
// in errors. Parse looks up the types of error details in files, then among those linked
// into the program, which include google.rpc's.
//
// The error joins (see [errors.Join]) an error "NAME:LINE: TEXT" for each of the first
// ten mistakes, in the order of the file. The text is trusted: Parse doesn't bound the
// expansion of aliases.
func Parse(name string, text []byte, files *protoregistry.Files) (*Stub, error) {
	p := &parser{
		name:    name,
		files:   files,
		types:   types.Resolvers{dynamicpb.NewTypes(files)},
		methods: make(map[string]*method),
	}
	p.file(text)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.mistakes()...)
	}
	return &Stub{files: files, methods: p.methods, closed: make(chan struct{})}, nil
}

// ServerOption makes a server answer calls to unregistered services from the file. The
// server must use the default codec.
func (s *Stub) ServerOption() grpc.ServerOption { return grpc.UnknownServiceHandler(s.serve) }

// Services returns the sorted full names of the services with at least one method in the
// file.
func (s *Stub) Services() []string {
	names := make(map[string]bool)
	for _, m := range s.methods {
		names[string(m.desc.Parent().FullName())] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Close ends current and later calls with UNAVAILABLE as soon as they stay open or, if
// bidirectional, wait for a request. Other calls end normally: a stream with stay_open
// first sends its remaining replies. Close doesn't block. Further calls do nothing.
func (s *Stub) Close() { s.closeOnce.Do(func() { close(s.closed) }) }
