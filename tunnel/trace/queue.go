package trace

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

const (
	eventMemory = int64(unsafe.Sizeof(Event{}))
	fieldMemory = int64(unsafe.Sizeof(hpack.HeaderField{}))

	// maxText is how much of the message of a call's end is kept, in bytes, if the
	// queue has no room for more. Nor is there room for its metadata then.
	maxText = 256
)

// queue has the events that wait for the sink.
type queue struct {
	limit int64 // bytes

	mu       sync.Mutex
	batches  []*batch // the oldest first, put adds to the last
	spare    []*batch // for reuse
	used     int64    // bytes of the batches, and of the one that the sink receives
	reserved int64    // bytes for the ends of calls
	closed   bool
	lost     Losses // in all

	wake chan struct{} // has an element if there is a batch, or closed is set
	full chan struct{} // has an element if a batch has batchSize, or closed is set
	done chan struct{} // closed when run has returned
}

// batch is a part of the queue. Its slices are reused.
type batch struct {
	events []Event
	fields []hpack.HeaderField // of events
	data   []byte              // of events
	size   int64
	lost   Losses // after events
}

func (q *queue) init(limit int64) {
	q.limit = limit
	q.wake, q.full, q.done = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
}

// put adds a copy of e, or loses parts of it, or all. Of the memory that isn't reserved
// for the ends of calls, bodies may use half, other events three quarters, and the
// beginnings of calls all. put reports whether the event, if it begins a call, was added.
// There is always room for the end of a call: the caller must not put any event of a call
// whose beginning wasn't added. Once the queue is closed, put returns false. It doesn't block.
func (q *queue) put(e *Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	size, end := e.size(), e.endSize()
	used, room := q.used+size, q.limit-q.reserved
	switch {
	case e.Type == ClientHeader:
		if used+end > room {
			q.lose(Losses{Calls: 1})
			return false
		}
		q.reserved += end
	case e.IsEnd():
		q.reserved -= end
		if used > room+end {
			e.Metadata, e.Message = nil, truncate(e.Message, maxText)
			size = e.size()
		}
	default:
		if n := int64(len(e.Data)); used > room/2 && n > 0 {
			q.lose(Losses{Bytes: n})
			e.Data, size, used = nil, size-n, used-n
		}
		if used > room/4*3 {
			q.lose(Losses{Events: 1})
			return true
		}
	}
	q.used += size
	q.last().add(e, size)
	return true
}

// size returns the memory of e in the queue.
func (e *Event) size() int64 {
	n := eventMemory + int64(len(e.Message)+len(e.Data)+len(e.Method)+len(e.Authority)+len(e.Encoding)+len(e.HTTPStatus)+len(e.ContentType))
	for _, f := range e.Metadata {
		n += fieldMemory + int64(len(f.Name)+len(f.Value))
	}
	return n
}

// endSize returns the memory that is reserved for the end of a call, of which e is.
func (e *Event) endSize() int64 {
	return eventMemory + int64(len(e.Method)) + maxText + maxStatus + maxShort
}

// putLosses counts losses.
func (q *queue) putLosses(l Losses) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.lose(l)
	}
}

// allLost returns all losses so far.
func (q *queue) allLost() Losses {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// lose counts losses. The caller holds q.mu.
func (q *queue) lose(l Losses) {
	q.lost.Add(l)
	q.last().lost.Add(l)
}

// last returns the batch for the next event. The caller holds q.mu.
func (q *queue) last() *batch {
	n := len(q.batches)
	if n > 0 && q.batches[n-1].size < batchSize {
		return q.batches[n-1]
	}
	b := &batch{}
	if k := len(q.spare); k > 0 {
		b, q.spare = q.spare[k-1], q.spare[:k-1]
	}
	q.batches = append(q.batches, b)
	if n == 0 {
		signal(q.wake)
	} else {
		signal(q.full)
	}
	return b
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *batch) add(e *Event, size int64) {
	b.size += size
	b.events = append(b.events, *e)
	added := &b.events[len(b.events)-1]
	if len(e.Metadata) > 0 {
		b.fields, added.Metadata = appendTo(b.fields, e.Metadata)
	}
	if len(e.Data) > 0 {
		b.data, added.Data = appendTo(b.data, e.Data)
	}
}

// appendTo appends s to all, and returns both. If all is full, it begins a new slice: the
// old one is still in use, and growing it would keep both.
func appendTo[T any](all, s []T) (_, copied []T) {
	if n := len(s); n > cap(all)-len(all) {
		const smallest = 512
		all = make([]T, 0, max(n, min(2*cap(all), batchSize), smallest))
	}
	n := len(all)
	all = append(all, s...)
	return all, all[n:len(all):len(all)]
}

const (
	// A batch waits for batchInterval after the previous one, or until it has batchSize
	// bytes, so that a busy sink receives many events at a time.
	batchInterval = 5 * time.Millisecond
	batchSize     = 256 << 10

	// maxFreeBatches is how many batches are kept for reuse, up to maxFreeBatch bytes
	// each.
	maxFreeBatches = 16
	maxFreeBatch   = 2 * batchSize
)

// reset empties b.
func (b *batch) reset() {
	if b.size > maxFreeBatch {
		*b = batch{}
		return
	}
	clear(b.events) // the texts
	clear(b.fields)
	*b = batch{events: b.events[:0], fields: b.fields[:0], data: b.data[:0]}
}

// run calls sink until the queue is closed and empty.
func (q *queue) run(sink Sink, secrets *redactor) {
	defer close(q.done)
	defer q.free()
	defer sink.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-q.wake:
			select {
			case <-time.After(time.Until(last.Add(batchInterval))):
			case <-q.full:
			}
		case <-timer.C:
		}
		b, closed := q.take(nil)
		for b != nil {
			for i := range b.events {
				secrets.redact(b.events[i].Metadata)
				sink.Event(&b.events[i])
			}
			if b.lost != (Losses{}) {
				sink.Event(&Event{Type: Lost, Side: Wstun, Time: time.Now(), Code: NoStatus, Lost: b.lost})
			}
			b, closed = q.take(b)
		}
		last = time.Now()
		next := sink.Flush(last)
		if closed {
			return
		}
		if !next.IsZero() {
			timer.Reset(next.Sub(last))
		}
	}
}

// take takes the oldest batch, or nil if there is none. done is the previous one, which
// the sink has received.
func (q *queue) take(done *batch) (b *batch, closed bool) {
	var size int64
	if done != nil {
		size = done.size
		done.reset()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used -= size
	if done != nil && len(q.spare) < maxFreeBatches {
		q.spare = append(q.spare, done)
	}
	if len(q.batches) > 0 {
		b = q.batches[0]
		q.batches[0] = nil
		q.batches = q.batches[1:]
	}
	return b, q.closed
}

// free lets go of the memory: an open call may keep a reference to a queue that has ended.
func (q *queue) free() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches, q.spare = nil, nil
}

// end ends run, after the last event.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	signal(q.wake)
	signal(q.full)
}

// wait waits until run has ended.
func (q *queue) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
