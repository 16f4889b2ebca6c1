package trace

import "math"

// output is an Output with its queue.
type output struct {
	Output
	queue queue
	omit  uint32 // bits of Output.Omit
}

func newOutput(opts Output) *output {
	o := &output{Output: opts}
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
	go o.queue.run(o.Sink, &redactor{o.IsSecret, o.Secrets, map[string]bool{}})
	return o
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

// bodyLimit returns how much of each message of a method any output keeps, in bytes.
func (t *Tracer) bodyLimit(method string) (limit int) {
	for _, o := range t.outputs {
		limit = max(limit, o.bodyLimit(method))
	}
	return limit
}

// outputs is a set of outputs, a bit for each.
type outputs uint64

// allOutputs has all outputs of any Tracer.
const allOutputs outputs = math.MaxUint64

// put queues e for the outputs in to, and returns those that have accepted it.
func (t *Tracer) put(e *Event, to outputs) (accepted outputs) {
	whole := *e
	for i, o := range t.outputs {
		if to&(1<<i) == 0 || o.omit&(1<<e.Type) != 0 && !e.IsEnd() {
			continue
		}
		if len(e.Data) > o.Body && o.Body >= 0 {
			e.Data = e.Data[:min(len(e.Data), o.bodyLimit(e.Method))]
		}
		if o.queue.put(e) {
			accepted |= 1 << i
		}
		e.Data, e.Metadata, e.Message = whole.Data, whole.Metadata, whole.Message
	}
	return accepted
}

// lose counts losses of all outputs.
func (t *Tracer) lose(l Losses) {
	for _, o := range t.outputs {
		o.queue.putLosses(l)
	}
}
