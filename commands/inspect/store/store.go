// Package store keeps the calls of sessions in memory, within a limit.
//
//	s := store.New(store.Options{})
//	t := trace.New(0, s.Output(nil))
//	…
//	batch := s.Changes(0) // all calls
//	<-s.Changed(batch.Rev)
//	batch = s.Changes(batch.Rev)
//
// Each change of a call has a number, its rev. A reader asks for the calls that have changed
// since one, so a slow reader costs no memory and misses no call.
//
// # Limits
//
// While there are too many calls, or their memory exceeds the limit, the calls that ended
// first are dropped, and then the oldest messages of the largest call, except for its first 16
// and its newest. Open calls are never dropped. If nothing is left to drop, new messages are
// kept without their bytes, and new calls aren't kept at all. All losses are counted.
//
// All methods of a Store may be called from any goroutine. None blocks for longer than it
// takes to copy its result.
package store

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// The defaults of Options, and other limits.
const (
	DefaultMemory = 64 << 20
	DefaultCalls  = 10_000

	// MaxMessages and MaxCallMemory limit the messages that are kept of one call, and their
	// bytes.
	MaxMessages   = 100_000
	MaxCallMemory = 16 << 20

	// MaxBody is the length of the longest message that is kept whole, in bytes. Of
	// longer ones, LongBody bytes are kept.
	MaxBody  = 1 << 20
	LongBody = 64 << 10

	// Head is how many messages of the beginning of a call are always kept.
	Head = 16
)

// Options are the options of a Store. Zero values mean the defaults.
type Options struct {
	Memory int64 // in bytes. Default: DefaultMemory
	Calls  int   // how many are kept, unless more are open. Default: DefaultCalls
}

// Origin is the source of a call.
type Origin string

// The origins.
const (
	Peer   Origin = "peer"   // a trace
	Page   Origin = "page"   // the page
	Record Origin = "record" // a recording
)

// Call has the properties of a call that a list shows.
type Call struct {
	ID      uint64 // grows with the beginnings of calls, from 1
	Session uint64 // 0: none
	Stream  uint32 // of yamux
	Method  string // "/pkg.Service/Method"
	IsGRPC  bool
	Origin  Origin

	Start                          time.Time
	Headers, First, LastRequest    time.Duration // of the response, its first message, and the client's half-close, since Start
	HasHeaders, HasFirst, HasClose bool
	Last                           time.Time // of the latest message

	// Of the end; see trace.Event.
	Ended                   bool
	Duration                time.Duration
	End                     trace.Type
	Side                    trace.Side
	Code                    codes.Code
	HTTPStatus, ContentType string
	Message                 string
	HTTP2Code               http2.ErrCode // of Cancel
	Timeout                 time.Duration // 0: the call has no deadline

	Sent, Received trace.Count // by the client
	Largest        int64       // message, in bytes
	Stored         uint64      // messages that the store has received
	Dropped        uint64      // … and not kept
	Rates          []uint32    // of an open call, its messages in each of the last 60 seconds; nil: none
	Rev            uint64
}

// Lost returns the number of messages that the store has never received.
func (c *Call) Lost() uint64 {
	if all := c.Sent.Messages + c.Received.Messages; all > c.Stored {
		return all - c.Stored
	}
	return 0
}

// Details is all that is kept of a call, except for its messages.
type Details struct {
	Call
	Authority                   string
	Request, Response, Trailers []hpack.HeaderField // secret values are replaced
	Omitted                     bool                // there is more metadata
}

// call is a call in the store.
type call struct {
	Details
	key      key
	messages log
	rates    *rates
	memory   int64
	changed  *list.Element // in Store.changed
	ended    *list.Element // in Store.ended; nil: it can't be dropped
}

// key identifies an open call: by the number that its source gave it.
type key struct {
	origin Origin
	number uint64
}

// Store keeps calls. Use New.
type Store struct {
	opts Options

	mu      sync.Mutex
	rev     uint64
	ids     uint64
	calls   map[uint64]*call
	open    map[key]*call
	changed list.List // calls, the latest change last
	ended   list.List // calls that may be dropped, the first to be dropped first
	memory  int64
	gone    gone
	dropped Dropped
	wait    chan struct{} // closed at the next change; nil: nobody waits
}

// Dropped counts the losses of a store.
type Dropped struct {
	Calls    uint64
	Messages uint64       // of calls that are kept
	Lost     trace.Losses // before they reached the store

	Encrypted uint64 // connections whose calls can't be seen here
}

// New returns an empty store.
func New(opts Options) *Store {
	opts.Memory, opts.Calls = cmp.Or(opts.Memory, DefaultMemory), cmp.Or(opts.Calls, DefaultCalls)
	return &Store{opts: opts, calls: map[uint64]*call{}, open: map[key]*call{}}
}

// Output returns the output of a Tracer that fills the store. isSecret is that of
// trace.Output.
func (s *Store) Output(isSecret func(name string) bool) trace.Output {
	return trace.Output{Sink: s, Body: MaxBody, IsSecret: isSecret}
}

// Event implements trace.Sink.
func (s *Store) Event(e *trace.Event) { s.Add(e, Peer, nil) }

// Flush implements trace.Sink.
func (*Store) Flush(time.Time) time.Time { return time.Time{} }

// Close implements trace.Sink. The calls that are still open may be dropped from now on.
func (s *Store) Close() { s.Release(Peer) }

// Release lets the store drop the calls of origin that are still open, as their source
// has ended.
func (s *Store) Release(origin Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var released []*call
	for k, c := range s.open {
		if k.origin == origin {
			delete(s.open, k)
			released = append(released, c)
		}
	}
	slices.SortFunc(released, func(a, b *call) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range released {
		c.ended = s.ended.PushBack(c)
	}
}

// Add adds an event from origin. Events of a call of a recording may lack the beginning,
// others are ignored then. redacted are the paths of the fields that the message has lost. It
// returns the call's ID, 0 if the event isn't kept.
func (s *Store) Add(e *trace.Event, origin Origin, redacted []string) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Type == trace.Lost:
		s.dropped.Lost.Add(e.Lost)
		s.touch(nil)
	case e.Type == trace.Other && e.Message == trace.Encrypted:
		s.dropped.Encrypted++
		s.touch(nil)
	}
	if e.Call == 0 {
		return 0
	}
	k := key{origin, e.Call}
	c := s.open[k]
	if c == nil {
		if e.Type != trace.ClientHeader && origin != Record {
			return 0 // the call had no room
		}
		if c = s.begin(e, k); c == nil {
			return 0
		}
	}
	s.update(c, e, redacted)
	s.limit(c)
	s.touch(c)
	return c.ID
}

// touch notes a change of c, or of the counts if c is nil.
func (s *Store) touch(c *call) {
	s.rev++
	if c != nil {
		c.Rev = s.rev
		s.changed.MoveToBack(c.changed)
	}
	if s.wait != nil {
		close(s.wait)
		s.wait = nil
	}
}
