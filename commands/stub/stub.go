// Package stub answers gRPC calls from a YAML file, so that a gRPC client can
// be tried without the service it calls. Only the service's descriptors are
// needed, no generated code.
//
//	answers, err := stub.Load("hub.yaml", files)
//	if err != nil {
//		return err // one line for each mistake: hub.yaml:7: unknown key "relpy"; did you mean "reply"?
//	}
//	server := grpc.NewServer(answers.ServerOption())
//	go server.Serve(listener)
//	...
//	answers.Close() // a stream that stays open would hold GracefulStop up indefinitely
//	server.GracefulStop()
//
// # The file
//
// The file gives each method a list of rules, or one rule without the list. A
// call is answered by the first rule that matches its request:
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
//	      error: {code: UNAVAILABLE, message: the Hub goes away}
//	    - stream:
//	        - reply: {snapshot: {}}
//	        - {delay: 100ms, reply: {created: {name: a}}}
//	      stay_open: true
//
// A rule has these keys, and acts on them in this order:
//
//	when       the request that the rule is for; without it, any request
//	delay      wait before anything is sent: 100ms, 1m30s
//	headers    metadata to begin with, sent at once: a text or a list of texts
//	           for each name, and base64 where the name ends in -bin
//	reply      one response, in the JSON form of its message
//	stream     many responses: each item has a delay, a reply or both
//	stay_open  true: don't end the call until the caller or [Stub.Close] does
//	error      the status to end with, instead of OK: its code by name or by
//	           number, a message, and details with their @type
//	trailers   metadata to end with, in the form of headers
//
// when gives fields of the request, by their JSON or their proto names, and the
// values that they must have. Other fields may hold anything, in nested
// messages and in the entries of maps too, while lists must be as long as
// in when. A message, a member of a oneof or an optional field must be set
// to match; null matches one that isn't set. The well-known types with a JSON
// form of their own (Timestamp, Struct, Any, …) match as a whole. Extensions
// cannot be matched.
//
// The kind of the RPC decides which keys a rule may have and when it applies:
//
//	unary             answers its request with a reply or an error
//	server streaming  answers its request with a reply or stream, or none
//	client streaming  answers the last request, once the caller has half-closed,
//	                  with a reply or an error. A call without requests is
//	                  answered by a rule without when
//	bidirectional     answers each request, and ends when the caller half-closes
//	                  or with the first error. headers are sent for the first
//	                  request only, trailers are those of the last rule
//
// Aliases and merge keys (<<) work, and so do comments. Numbers and truth
// values for fields that hold text need quotes.
//
// # Statuses of its own
//
// A request that no rule matches, a method that the file doesn't have, and
// one that the descriptors don't have get UNIMPLEMENTED with a message that
// begins with "stub: ". This cannot be confused with an answer in the file, and
// few clients act on it. A waiting call ends when it is cancelled or its
// deadline passes.
package stub

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection/types"
)

// maxSize bounds the file, and the text that its aliases add to it, in bytes.
const maxSize = 16 << 20

// A Stub holds the answers of one file. Nothing but [Stub.Close] changes it. It has
// no goroutines except those of calls, and may serve any number of servers.
// All of its methods may be called concurrently.
type Stub struct {
	files   *protoregistry.Files
	methods map[string]*method // by full name as gRPC has it: /pkg.Service/Method

	closeOnce sync.Once
	closed    chan struct{}
}

// Load reads the file at path, of at most 16 MiB, and checks all of it against
// files, as [Parse] does.
func Load(path string, files *protoregistry.Files) (*Stub, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(path, text, files)
}

// Parse checks text against files and returns the Stub for it. The name stands
// for the file in errors. Types of error details are looked up in files and
// then among those linked into the program, which google.rpc's always are.
//
// The error joins (see [errors.Join]) one error of the form
// "NAME:LINE: what is wrong" for each mistake, in the file's order, and stops
// at ten. The text may be 16 MiB long, and aliases may add as much. Parsing a
// value takes up to a KiB of memory, most of it until Parse returns.
func Parse(name string, text []byte, files *protoregistry.Files) (*Stub, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB", name, maxSize>>20)
	}
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

// ServerOption makes a server answer calls to services that are not registered
// with it from the file. The server's codec must be the default one.
func (s *Stub) ServerOption() grpc.ServerOption { return grpc.UnknownServiceHandler(s.serve) }

// Services returns the full names, sorted, of the services that have at least
// one method in the file.
func (s *Stub) Services() []string {
	names := make(map[string]bool)
	for _, m := range s.methods {
		names[string(m.desc.Parent().FullName())] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Close ends the calls that stay open, and bidirectional ones that wait for a
// request, with UNAVAILABLE, later ones too. All other calls go on and end by
// themselves: a stream with stay_open first sends its remaining replies. Close
// returns at once. Closing again does nothing.
func (s *Stub) Close() { s.closeOnce.Do(func() { close(s.closed) }) }
