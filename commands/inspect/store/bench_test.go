package store

import (
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/trace"
)

// BenchmarkMessage measures a message of a Watch.
func BenchmarkMessage(b *testing.B) {
	s := newSource(b, Options{})
	w := s.begin("/a.B/Watch")
	data := make([]byte, 70)
	e := &trace.Event{Type: trace.ServerMessage, Call: w.number, Size: 70, Data: data, Time: s.clock, Method: "/a.B/Watch"}
	b.ReportAllocs()
	for b.Loop() {
		e.Time = e.Time.Add(time.Millisecond)
		e.Received.Messages++
		s.Event(e)
	}
}

// BenchmarkCall measures a unary call of four events, in a full store.
func BenchmarkCall(b *testing.B) {
	s := newSource(b, Options{})
	data := make([]byte, 70)
	for range DefaultCalls {
		s.unary(data, data)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.unary(data, data)
	}
}

// BenchmarkChanges measures the request that a reader makes ten times a second, for 20 changed
// calls of 10,000.
func BenchmarkChanges(b *testing.B) {
	s := newSource(b, Options{})
	for range DefaultCalls {
		s.unary(nil, nil)
	}
	rev := s.Rev()
	for range 20 {
		s.unary(nil, nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(s.Changes(rev).Calls); n != 20 {
			b.Fatal(n)
		}
	}
}
