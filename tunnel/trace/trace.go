// Package trace observes the gRPC calls of sessions while they happen.
//
//	t := trace.New(0, trace.Output{Sink: sink})
//	defer t.Close(ctx)
//	opts := &tunnel.SessionOptions{Observe: t.Session} // of a Connector or an Acceptor
//
// A [Tracer] decodes HTTP/2 and gRPC from the bytes of each yamux stream as they pass,
// and calls a [Sink] with an [Event] for each header list, message and end of a call. It
// doesn't matter which end opened the stream, and which end is the gRPC client. Requests
// are traced before they are sent, so that an event never follows its effects.
//
// Tracing doesn't delay the calls. Events wait for the sink in a queue that is bounded in
// bytes. While the sink is slow, the bodies of messages are left out first, then messages
// and headers, and then whole calls; never the end of a call whose beginning was
// queued. An event of type [Lost] reports how many events are missing. The state of
// connections and calls, and messages of which a part has arrived, are bounded, too:
// connections and calls for which there is no memory aren't traced, and calls whose
// header lists have no room have no names.
//
// A stream that doesn't carry HTTP/2 is identified once ([Other]), and its bytes are
// counted. A bug in the decoder ends the tracing of a connection, not the connection.
//
// Outputs may come and go: see [Tracer.Attach]. While there is none, new streams aren't traced,
// and the state of those that are is dropped when their next bytes pass. HTTP/2 can't be
// decoded from its middle on, so those streams stay untraced.
//
// Names and order of events follow gRPC's binary log
// (https://github.com/grpc/grpc-proto/blob/master/grpc/binlog/v1/binarylog.proto).
//
// All methods of a Tracer may be called from any goroutine.
package trace

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
)

// Sink receives events. Its methods are called by one goroutine at a time, and may block.
type Sink interface {
	// Event receives the next event. It must not keep a reference to e, e.Metadata or
	// e.Data.
	Event(e *Event)

	// Flush is called when no event is waiting, and again at the time that it
	// returns, unless there is an event before. The zero time means never.
	Flush(now time.Time) (next time.Time)

	// Close is called once, after all others.
	Close()
}

// The defaults of New and of an Output.
const (
	DefaultQueue  = 8 << 20
	DefaultMemory = 320 << 20
)

// Output is a Sink with its options. A slow one doesn't affect others. Zero values mean
// the defaults.
type Output struct {
	Sink Sink // must be set

	// Body is how many bytes of each message are kept in Event.Data; negative: all of
	// them. Default: none.
	Body int

	// Whole reports whether up to 4 MiB of each message of a method, "/pkg.Service/Method",
	// are kept even if Body is less. Default: of no method.
	Whole func(method string) bool

	// Omit lists types of a call's events for which the sink has no use. ClientHeader and
	// the ends of calls can't be omitted. Default: none.
	Omit []Type

	// Queue limits the memory of the events that wait for the sink, in bytes.
	// Default: DefaultQueue.
	Queue int64

	// IsSecret reports whether the value of the metadata with this name, in lower
	// case, is secret. Default: IsSecret.
	IsSecret func(name string) bool

	// Secrets keeps secret values, and sets HeaderField.Sensitive for them, and for no
	// others. Default: they are replaced.
	Secrets bool
}

// Tracer traces the calls of sessions. Use New.
type Tracer struct {
	memory  int64
	used    atomic.Int64  // bytes of memory
	calls   atomic.Uint64 // the number of the latest call
	open    openCalls
	outputs atomic.Pointer[[]*output] // at the moment; the slice isn't changed

	mu       sync.Mutex // guards changes of outputs, and the fields below
	attached int        // outputs of Attach whose Sinks haven't ended
	lost     Losses     // of outputs that have been detached
	closed   bool
	closing  []*output // those that Close ends
}

// New returns a Tracer for up to 48 outputs, or for none until Attach. Close ends it. memory limits the memory of the
// connections, their calls, and messages of which a part has arrived, in bytes; 0 means
// DefaultMemory. A connection takes at least 28 KiB, an open call 1 KiB.
func New(memory int64, outputs ...Output) *Tracer {
	t := &Tracer{memory: cmp.Or(memory, DefaultMemory)}
	var all []*output
	for _, o := range outputs {
		added := newOutput(o)
		all = append(all, added)
		go added.run(o.Sink)
	}
	t.outputs.Store(&all)
	return t
}

// Session returns the function that [wsmux.Options] calls for each new stream of the
// session with this number. It returns nil for a stream that begins without any output.
func (t *Tracer) Session(number uint64) (observe func(stream uint32, opened bool) *mux.StreamObserver) {
	return func(stream uint32, _ bool) *mux.StreamObserver {
		if !t.isWatched() {
			return nil
		}
		s := &observedStream{tracer: t, session: number, stream: stream}
		return &mux.StreamObserver{
			Received: func(p []byte) { s.scan(p, &s.received) },
			Sent:     func(p []byte) { s.scan(p, &s.sent) },
			Closed:   s.closed,
			End:      s.end,
		}
	}
}

// Close waits until the sinks have received all events, or ctx ends. The events of later
// calls are ignored. It returns an error if ctx has ended, and then a sink may still be in
// use; it doesn't keep others from their end.
func (t *Tracer) Close(ctx context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.closed, t.closing = true, *t.outputs.Swap(new([]*output))
	}
	t.mu.Unlock()
	for _, o := range t.closing {
		o.queue.end()
	}
	for _, o := range t.closing {
		if err := o.queue.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// charge takes n bytes of the memory, and reports whether they were left. A negative n
// returns bytes.
func (t *Tracer) charge(n int64) bool {
	if t.used.Add(n) > t.memory && n > 0 {
		t.used.Add(-n)
		return false
	}
	return true
}
