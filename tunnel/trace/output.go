package trace

import (
	"errors"
	"math"
	"net"
	"slices"
	"sync"
)

// MaxAttached is how many outputs may be attached to a Tracer at a time.
const MaxAttached = 16

// ErrAttached means that MaxAttached outputs are attached already.
var ErrAttached = errors.New("trace: too many outputs are attached")

// output is an Output with its queue.
type output struct {
	Output // without its Sink, which ends before the last reference to the output
	queue  queue
	omit   uint32 // bits of Output.Omit
}

// newOutput returns an output, for run.
func newOutput(opts Output) *output {
	o := &output{Output: opts}
	o.Sink = nil
	if o.Queue == 0 {
		o.Queue = DefaultQueue
	}
	if o.IsSecret == nil {
		o.IsSecret = IsSecret
	}
	for _, kind := range o.Omit {
		o.omit |= 1 << kind
	}
	o.omit &^= 1 << ClientHeader
	o.queue.init(o.Queue)
	return o
}

// run calls sink until the queue is closed.
func (o *output) run(sink Sink) {
	o.queue.run(sink, &redactor{o.IsSecret, o.Secrets, map[string]bool{}})
}

// Attach adds an output. It receives the events of calls that begin from now on, on the
// streams that are traced: those that began while the Tracer had an output. The caller must
// call detach, which may be called more than once and doesn't block: the Sink still receives
// the events in its queue, and then Close.
//
// The error is ErrAttached if there are MaxAttached outputs whose Sinks haven't returned from
// Close, or net.ErrClosed after Close. Then the Sink isn't used.
func (t *Tracer) Attach(opts Output) (detach func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, net.ErrClosed
	case t.attached == MaxAttached:
		return nil, ErrAttached
	}
	t.attached++
	o := newOutput(opts)
	t.outputs.Store(new(append(slices.Clone(*t.outputs.Load()), o)))
	go func() { // afterwards: the Sink may tell others that it is attached
		o.run(opts.Sink)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.attached--
	}()
	return sync.OnceFunc(func() { t.detach(o) }), nil
}

// detach removes o, and ends its queue.
func (t *Tracer) detach(o *output) {
	t.mu.Lock()
	rest := slices.Clone(*t.outputs.Load())
	rest = slices.DeleteFunc(rest, func(other *output) bool { return other == o })
	t.outputs.Store(&rest)
	o.queue.end()
	t.lost.Add(o.queue.allLost())
	t.mu.Unlock()
}

// Lost returns the losses of all outputs so far, together.
func (t *Tracer) Lost() Losses {
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := t.lost
	for _, o := range *t.outputs.Load() {
		lost.Add(o.queue.allLost())
	}
	return lost
}

// isWatched reports whether the Tracer has an output at the moment.
func (t *Tracer) isWatched() bool { return len(*t.outputs.Load()) > 0 }

// current returns the outputs at the moment.
func (t *Tracer) current() outputs {
	all := *t.outputs.Load()
	return outputs{all, 1<<len(all) - 1}
}

// wholeBody is how much of a message Output.Whole keeps, in bytes.
const wholeBody = 4 << 20

// bodyLimit returns how much of each message of a method is kept, in bytes.
func (o *output) bodyLimit(method string) int {
	switch {
	case o.Body < 0:
		return math.MaxInt
	case o.Whole != nil && o.Whole(method):
		return max(o.Body, wholeBody)
	}
	return o.Body
}

// outputs are some of the outputs that a Tracer had at a moment: those with a bit.
type outputs struct {
	all  []*output // isn't changed
	bits uint64
}

// bodyLimit returns how much of each message of a method any output keeps, in bytes.
func (os outputs) bodyLimit(method string) (limit int) {
	for i, o := range os.all {
		if os.bits&(1<<i) != 0 {
			limit = max(limit, o.bodyLimit(method))
		}
	}
	return limit
}

// put queues e, and returns the outputs without those that haven't accepted it, because they
// have no room for the call that it begins, or are detached.
func (os outputs) put(e *Event) outputs {
	data, metadata, message := e.Data, e.Metadata, e.Message
	for i, o := range os.all {
		if os.bits&(1<<i) == 0 || o.omit&(1<<e.Type) != 0 && !e.IsEnd() {
			continue
		}
		if len(e.Data) > o.Body && o.Body >= 0 {
			e.Data = e.Data[:min(len(e.Data), o.bodyLimit(e.Method))]
		}
		if !o.queue.put(e) {
			os.bits &^= 1 << i
		}
		e.Data, e.Metadata, e.Message = data, metadata, message
	}
	if os.bits == 0 {
		return outputs{}
	}
	return os
}

// lose counts losses of all outputs.
func (t *Tracer) lose(l Losses) {
	for _, o := range *t.outputs.Load() {
		o.queue.putLosses(l)
	}
}
