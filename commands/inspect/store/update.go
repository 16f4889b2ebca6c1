package store

import (
	"slices"
	"time"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/trace"
)

// The memory of parts of a call, in bytes, with their share of maps and lists.
const (
	callMemory  = int64(unsafe.Sizeof(call{})) + 400
	fieldMemory = int64(unsafe.Sizeof(hpack.HeaderField{}))
)

// begin begins the call of e, or returns nil if there is no room for it.
func (s *Store) begin(e *trace.Event, k key) *call {
	s.makeRoom(callMemory, 1)
	if s.memory+callMemory > s.opts.Memory {
		s.dropped.Calls++
		s.touch(nil)
		return nil
	}
	s.ids++
	c := &call{key: k}
	c.ID, c.Session, c.Stream, c.Method, c.IsGRPC, c.Origin, c.Start = s.ids, e.Session, e.Stream, e.Method, e.IsGRPC, k.origin, e.Time
	s.calls[c.ID], s.open[k] = c, c
	c.changed = s.changed.PushBack(c)
	s.grow(c, callMemory+int64(len(e.Method)))
	return c
}

// grow adds n bytes to the memory of c.
func (s *Store) grow(c *call, n int64) {
	c.memory += n
	s.memory += n
}

// update applies e to c.
func (s *Store) update(c *call, e *trace.Event, redacted []string) {
	if (e.Sent != trace.Count{} || e.Received != trace.Count{}) {
		c.Sent, c.Received = e.Sent, e.Received
	}
	since := max(0, e.Time.Sub(c.Start))
	switch e.Type {
	case trace.ClientHeader:
		c.Authority, c.Timeout = e.Authority, e.Timeout
		c.Request = s.metadata(c, e)
	case trace.ServerHeader:
		c.Headers, c.HasHeaders = since, true
		c.Response = s.metadata(c, e)
	case trace.ClientMessage, trace.ServerMessage:
		s.message(c, e, redacted)
	case trace.ClientHalfClose:
		c.LastRequest, c.HasClose = since, true
	case trace.ServerTrailer, trace.Cancel, trace.Cut:
		s.end(c, e)
	case trace.GoAway, trace.Other, trace.Lost:
	}
}

// metadata returns a copy of the metadata of e, nil if there is no room for it.
func (s *Store) metadata(c *call, e *trace.Event) []hpack.HeaderField {
	c.Omitted = c.Omitted || e.Omitted
	size := int64(0)
	for _, f := range e.Metadata {
		size += fieldMemory + int64(len(f.Name)+len(f.Value))
	}
	if size == 0 {
		return nil
	}
	s.makeRoom(size, 0)
	if s.memory+size > s.opts.Memory {
		c.Omitted = true
		return nil
	}
	s.grow(c, size)
	return slices.Clone(e.Metadata)
}

// message adds the message of e.
func (s *Store) message(c *call, e *trace.Event, redacted []string) {
	data := e.Data
	if len(data) > MaxBody || e.Size > MaxBody {
		data = data[:min(len(data), LongBody)]
	}
	m := entry{at: e.Time.UnixNano(), size: e.Size, byServer: e.Type == trace.ServerMessage, isCompressed: e.Encoding != ""}
	m.isWhole = e.Whole && len(data) == len(e.Data)
	s.makeRoom(int64(len(data)), 0)
	if s.memory+int64(len(data)) > s.opts.Memory {
		data, m.isWhole = nil, false
	}
	s.grow(c, c.messages.add(m, data, e.Encoding, redacted))
	c.Stored++
	c.Last, c.Largest = e.Time, max(c.Largest, e.Size)
	count := &c.Sent
	if m.byServer {
		count = &c.Received
		if !c.HasFirst {
			c.First, c.HasFirst = max(0, e.Time.Sub(c.Start)), true
		}
	}
	if (e.Sent == trace.Count{} && e.Received == trace.Count{}) { // as in a recording
		count.Messages++
		count.Bytes += e.Size
	}
	if c.rates == nil {
		if c.Stored < minRates {
			return
		}
		c.rates = &rates{}
		s.grow(c, int64(unsafe.Sizeof(rates{})))
	}
	c.rates.add(e.Time)
}

// minRates is how many messages a call has before its rates are counted.
const minRates = 4

// end ends c.
func (s *Store) end(c *call, e *trace.Event) {
	c.Ended, c.End, c.Side, c.Code, c.Message = true, e.Type, e.Side, e.Code, e.Message
	c.Duration, c.HTTPStatus, c.ContentType, c.HTTP2Code = e.Duration, e.HTTPStatus, e.ContentType, e.HTTP2Code
	if e.Duration == 0 {
		c.Duration = max(0, e.Time.Sub(c.Start))
	}
	if e.Timeout > 0 {
		c.Timeout = e.Timeout
	}
	c.Trailers = s.metadata(c, e)
	s.grow(c, int64(len(c.Message)))
	if c.rates != nil {
		s.grow(c, -int64(unsafe.Sizeof(rates{})))
		c.rates = nil
	}
	delete(s.open, c.key)
	c.ended = s.ended.PushBack(c)
}

// limit drops the oldest messages of c that are too many, and then whatever exceeds the
// limits of the store.
func (s *Store) limit(c *call) {
	for c.messages.count() > MaxMessages || c.messages.memory > MaxCallMemory {
		if !s.dropMessages(c) {
			break
		}
	}
	s.makeRoom(0, 0)
}

// makeRoom drops calls and messages until there is room for so many bytes and calls, or
// nothing more can be dropped.
func (s *Store) makeRoom(bytes int64, calls int) {
	for s.ended.Len() > 0 && (len(s.calls)+calls > s.opts.Calls || s.memory+bytes > s.opts.Memory) {
		s.drop(s.ended.Front().Value.(*call)) //nolint:errcheck,forcetypeassert // it has nothing else
	}
	for s.memory+bytes > s.opts.Memory {
		if c := s.largest(); c == nil || !s.dropMessages(c) {
			return
		}
	}
}

// drop drops an ended call.
func (s *Store) drop(c *call) {
	s.ended.Remove(c.ended)
	s.changed.Remove(c.changed)
	delete(s.calls, c.ID)
	s.memory -= c.memory
	s.dropped.Calls++
	s.dropped.Messages -= c.Dropped
	s.touch(nil)
	s.gone.add(c.ID, s.rev)
}

// largest returns the call with the most bytes in messages that can be dropped, or nil.
func (s *Store) largest() (largest *call) {
	most := int64(0)
	for _, c := range s.calls {
		if n := c.messages.droppable(); n > most {
			largest, most = c, n
		}
	}
	return largest
}

// dropMessages drops the oldest block of messages of c, and reports whether there was one.
func (s *Store) dropMessages(c *call) bool {
	n, memory := c.messages.drop()
	if n == 0 {
		return false
	}
	s.grow(c, -memory)
	c.Dropped += n
	s.dropped.Messages += n
	s.touch(c)
	return true
}

// rates counts the messages of the last 60 seconds.
type rates struct {
	counts [60]uint32 // of each second, modulo 60
	second int64      // the latest
}

// add counts a message.
func (r *rates) add(at time.Time) {
	r.advance(at.Unix())
	if at.Unix() > r.second-60 {
		r.counts[at.Unix()%60]++
	}
}

// advance forgets the seconds that are too old.
func (r *rates) advance(second int64) {
	if second-r.second >= 60 {
		r.counts, r.second = [60]uint32{}, second
	}
	for ; r.second < second; r.second++ {
		r.counts[(r.second+1)%60] = 0
	}
}

// list returns the counts until now, the newest last, nil if all are 0.
func (r *rates) list(now time.Time) (counts []uint32) {
	if r == nil {
		return nil
	}
	copied := *r
	copied.advance(now.Unix())
	for i := range int64(60) {
		if n := copied.counts[(copied.second+1+i)%60]; n > 0 || counts != nil {
			if counts == nil {
				counts = make([]uint32, i, 60)
			}
			counts = append(counts, n)
		}
	}
	return counts
}
