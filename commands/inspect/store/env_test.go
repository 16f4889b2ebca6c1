package store

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// source makes the events of calls. Its clock advances by a millisecond with each.
type source struct {
	*Store
	t      testing.TB
	clock  time.Time
	number uint64
}

func newSource(tb testing.TB, opts Options) *source {
	tb.Helper()
	return &source{Store: New(opts), t: tb, clock: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)}
}

// made is a call of a source.
type made struct {
	*source
	id     uint64 // in the store; 0: not kept
	number uint64
	seq    uint32
	counts [2]trace.Count
}

// begin begins a call.
func (s *source) begin(method string, metadata ...hpack.HeaderField) *made {
	s.number++
	m := &made{source: s, number: s.number}
	m.id = m.event(trace.Event{Type: trace.ClientHeader, Metadata: metadata, Method: method})
	return m
}

func (m *made) event(e trace.Event) uint64 {
	m.clock = m.clock.Add(time.Millisecond)
	m.seq++
	e.Session, e.Call, e.Seq, e.Time, e.IsGRPC = 1, m.number, m.seq, m.clock, true
	if e.Method == "" {
		e.Method = "/a.B/C"
	}
	e.Sent, e.Received = m.counts[0], m.counts[1]
	return m.Add(&e, Peer, nil)
}

// send passes a request, and receive a response.
func (m *made) send(data []byte) { m.message(trace.ClientMessage, data) }

func (m *made) receive(data []byte) { m.message(trace.ServerMessage, data) }

func (m *made) message(kind trace.Type, data []byte) {
	c := &m.counts[kind-trace.ClientMessage]
	c.Messages++
	c.Bytes += int64(len(data))
	m.event(trace.Event{Type: kind, Size: int64(len(data)), Data: data})
}

func (m *made) end() {
	m.event(trace.Event{Type: trace.ServerTrailer, Code: codes.OK, Duration: time.Millisecond})
}

// unary makes a call.
func (s *source) unary(request, response []byte) *made {
	m := s.begin("/a.B/Unary")
	m.send(request)
	m.receive(response)
	m.end()
	return m
}

// check checks that the counts of the store agree with its contents.
func (s *source) check() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	memory, dropped := int64(0), uint64(0)
	for id, c := range s.calls {
		memory += c.memory
		dropped += c.Dropped
		blocks, count, next := int64(0), uint64(0), uint64(0)
		for i, b := range c.messages.blocks {
			blocks += b.memory()
			count += uint64(len(b.messages))
			if b.first < next || i == 1 && b.first != next+c.messages.dropped {
				s.t.Fatalf("call %d: block %d begins at %d, after %d", id, i, b.first, next)
			}
			next = b.first + uint64(len(b.messages))
		}
		for _, paths := range c.messages.redacted {
			for _, path := range paths {
				blocks += int64(len(path)) + redactedMemory
			}
		}
		if blocks != c.messages.memory || count != c.messages.count() || c.messages.dropped != c.Dropped || c.Stored != c.messages.total {
			s.t.Fatalf("call %d: %d bytes and %d messages, counted %d and %d", id, blocks, count, c.messages.memory, c.messages.count())
		}
	}
	if memory != s.memory || dropped != s.dropped.Messages {
		s.t.Fatalf("%d bytes, %d dropped, counted %d and %d", memory, dropped, s.memory, s.dropped.Messages)
	}
	if s.changed.Len() != len(s.calls) || s.ended.Len()+len(s.open) != len(s.calls) {
		s.t.Fatalf("%d calls: %d in changed, %d ended, %d open", len(s.calls), s.changed.Len(), s.ended.Len(), len(s.open))
	}
}

func message(i int) []byte { return fmt.Appendf(nil, "message %d", i) }
