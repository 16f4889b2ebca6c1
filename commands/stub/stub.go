// Package stub answers gRPC calls from a YAML file, or as in a recording of package
// recording, so that a gRPC client can be tested without the service it calls. It needs
// only the service's descriptors, no generated code.
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
// # Recordings
//
// [FromRecording] takes the answers from a recording, which it keeps in memory as a whole. A
// request gets the answer that an equal request has got in the recording: headers,
// messages with the time between them, status with details, and trailers. If there are
// several, each equal request gets the next one in the recorded order, and all further ones
// get the last. Each request has its own order, so that other calls, also concurrent ones,
// don't change it. A Stub doesn't begin again with new connections.
//
// Requests are compared as messages: the order of fields and map entries on the wire
// doesn't matter, unknown fields count, as do the bytes of a google.protobuf.Any. Fields of
// which the values were redacted match anything. Responses have "[redacted]" in place of
// such values; redacted metadata, and that of HTTP and gRPC, is left out. Deadlines and the
// client's metadata don't matter.
//
// The kind of RPC determines which requests are compared:
//
//	unary, server streaming  the one request
//	client streaming         all requests, after the caller has half-closed; or those so far,
//	                         if the recorded server didn't wait for more
//	bidirectional            each request: it gets the responses between the
//	                         recorded request and the next one, or the half-close
//
// A bidirectional call stays with the recorded call that it began with as long as that has
// the same requests, and otherwise goes on as another one with the same requests so far. A
// caller that waits for a response before it sends the next request waits in vain if the
// recorded one didn't wait.
//
// A call that the recorded client cancelled, or that was open when the recording ended,
// stays open after its messages, until the caller or [Stub.Close] ends it; so does a stream
// whose session was lost, and a call whose deadline passed. Other calls that were cut can't
// answer, nor can those that wstun answered or the server reset, or of which parts are
// missing. Calls of gRPC's own services (reflection, health, channelz) are ignored.
//
// # Statuses
//
// A call gets UNIMPLEMENTED, with a message that begins with "stub: ", if no
// rule matches its request or if the method isn't in the file. If the request isn't in a
// recording, the message names the nearest recorded call of the method, and
// the fields in which that differs. A waiting call ends when it is cancelled or its
// deadline passes.
package stub

import (
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/reflection/types"
)

// A Stub holds the answers of one file or recording. It has no goroutines except those of calls, and
// may serve any number of servers. All methods may be called concurrently.
type Stub struct {
	files    []*protoregistry.Files // the first with a name counts
	methods  map[string]*method     // by gRPC name: /pkg.Service/Method
	recorded bool                   // they are from a recording

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
		File:    yamlfile.File{Name: name},
		files:   files,
		types:   types.Resolvers{dynamicpb.NewTypes(files)},
		methods: make(map[string]*method),
	}
	p.file(text)
	if err := p.Err(); err != nil {
		return nil, err
	}
	return &Stub{files: []*protoregistry.Files{files}, methods: p.methods, closed: make(chan struct{})}, nil
}

// ServerOption makes a server answer calls to unregistered services from the file. The
// server must use the default codec.
func (s *Stub) ServerOption() grpc.ServerOption { return grpc.UnknownServiceHandler(s.serve) }

// Services returns the sorted full names of the services with at least one method in the
// file, or with a recorded call.
func (s *Stub) Services() []string {
	names := make(map[string]bool)
	for _, m := range s.methods {
		names[string(m.desc.Parent().FullName())] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Close ends current and later calls with UNAVAILABLE as soon as they stay open or, if
// bidirectional, wait for a request. Other calls end normally: one that stays open first
// sends its remaining replies. Close doesn't block. Further calls do nothing.
func (s *Stub) Close() { s.closeOnce.Do(func() { close(s.closed) }) }
