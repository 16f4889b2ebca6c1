// Package limit bounds the memory that the gRPC calls of peers take: their header lists,
// and the messages that a server holds while it receives, handles and sends them. grpc-go
// bounds single messages only, not their sum.
//
//	process := limit.New(nil)
//	…
//	session := process.NewSession() // for each peer
//	defer session.Close()
//	srv := session.NewServer(codec)
//	srv.Serve(l)
//
// A [Session] bounds:
//
//   - Messages. A message counts while it is received and handled, and a response until
//     it is sent. Near the limit, the server lets the peer send no more large messages
//     (HTTP/2 flow control, RFC 9113 §5.2), decompresses none, and handlers wait in
//     SendMsg. A message of up to [Session.MaxMessage] bytes always passes in the end,
//     unless peers take no responses. A request of up to 4 KiB doesn't count while it is
//     handled.
//   - Header lists, by their size (RFC 9113 §6.5.2). A call beyond the limit fails with
//     RESOURCE_EXHAUSTED.
//   - Calls: 16384 at a time.
//
// The process has a limit for the messages of all sessions. Other memory, such as that of
// connections, isn't counted. All methods may be called concurrently.
package limit

import (
	"cmp"
	"context"
	"sync"

	"github.com/wstun/wstun/tunnel/rpc"
)

// The defaults of Options.
const (
	DefaultMemory             = 1 << 30
	DefaultSessionMemory      = 256 << 20
	DefaultHeaderList         = 1 << 20
	DefaultSessionHeaderLists = 16 << 20
)

// Options are limits in bytes. Zero means the default.
type Options struct {
	// Memory limits the messages of all sessions. When it is used up, each session may
	// still use its share of another quarter of it. Default: DefaultMemory.
	Memory int64

	// SessionMemory limits the messages of a session. Default: DefaultSessionMemory.
	SessionMemory int64

	// HeaderList limits the header list of a call. Default: DefaultHeaderList.
	HeaderList int64

	// SessionHeaderLists limits the sum of the header lists of a session's open calls.
	// Default: DefaultSessionHeaderLists.
	SessionHeaderLists int64
}

// Process has the limits of a process.
type Process struct {
	opts  Options
	ended rpc.Counts

	mu       sync.Mutex // guards the fields below, and those of the sessions
	sessions int        // open ones
	messages int64      // bytes in use
	unread   [uses]unread
	waiting  map[*Session]struct{}
	stalled  map[*Session]struct{}
}

// New returns the limits of a process. opts may be nil.
func New(opts *Options) *Process {
	if opts == nil {
		opts = &Options{}
	}
	memory, headers := cmp.Or(opts.Memory, DefaultMemory), cmp.Or(opts.SessionHeaderLists, DefaultSessionHeaderLists)
	return &Process{
		opts: Options{
			Memory:             memory,
			SessionMemory:      min(cmp.Or(opts.SessionMemory, DefaultSessionMemory), memory),
			HeaderList:         min(cmp.Or(opts.HeaderList, DefaultHeaderList), headers),
			SessionHeaderLists: headers,
		},
		waiting: make(map[*Session]struct{}),
		stalled: make(map[*Session]struct{}),
	}
}

// Reserve counts bytes that belong to no session, such as those of an upstream's
// descriptors. It returns false if that would leave less than half of the memory for
// messages.
func (p *Process) Reserve(bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.messages+int64(bytes) > p.opts.Memory/2 {
		return false
	}
	p.messages += int64(bytes)
	return true
}

// Release releases bytes that Reserve has counted.
func (p *Process) Release(bytes int) {
	p.mu.Lock()
	p.messages -= int64(bytes)
	ready := p.wakeAll()
	p.mu.Unlock()
	run(ready)
}

// Session has the limits of one peer.
type Session struct {
	process *Process
	limit   int64           // of messages
	ended   context.Context //nolint:containedctx // ends with Close
	end     context.CancelFunc

	decompressors [uses]chan struct{} // used by decompressor.Do

	decompressed sync.Map // *byte, the first one of a compressed message → its *held
	decoded      sync.Map // decoded message → its *held, until RecvMsg returns

	// guarded by Process.mu:
	messages int64                   // bytes in use
	unread   [uses]unread            // the part of messages that handlers haven't received
	releases uint64                  // how often bytes have been released
	headers  int64                   // bytes of header lists
	blocks   int64                   // bytes of incomplete header blocks
	calls    map[*admission]struct{} // open ones
	conns    map[*conn]struct{}      // of its Server
	queues   [uses][]*waiter
	stalled  [uses]map[*flow]struct{} // connections without credit
	arrived  map[int64][]*held        // responses for the codec, by their length
	closed   bool
}

// NewSession returns the limits of a new session. The caller closes it.
func (p *Process) NewSession() *Session {
	s := &Session{
		process: p, limit: p.opts.SessionMemory, conns: make(map[*conn]struct{}), arrived: make(map[int64][]*held),
		calls: make(map[*admission]struct{}),
	}
	s.ended, s.end = context.WithCancel(context.Background())
	for u := range s.decompressors {
		s.decompressors[u] = make(chan struct{}, maxDecompressors)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++
	return s
}

// AfterClose calls f in its own goroutine after Close.
func (s *Session) AfterClose(f func()) { context.AfterFunc(s.ended, f) }

// Close ends all waiting. The memory in use counts until it is released.
func (s *Session) Close() {
	s.end()
	p := s.process
	p.mu.Lock()
	if s.closed {
		p.mu.Unlock()
		return
	}
	s.closed, s.queues = true, [uses][]*waiter{}
	delete(p.waiting, s)
	p.sessions--
	ready := p.wakeAll() // the shares of others have grown
	p.mu.Unlock()
	run(ready)
}
