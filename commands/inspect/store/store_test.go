package store

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// The calls that ended first are dropped, and open ones never.
func TestManyCalls(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	var open []*made
	for range 5 {
		open = append(open, s.begin("/a.B/Watch"))
	}
	const calls = DefaultCalls + 2000
	for i := range calls {
		s.unary(message(i), message(i))
	}
	s.check()
	u := s.Usage()
	if u.Calls != DefaultCalls || u.Dropped.Calls != calls+5-DefaultCalls {
		t.Errorf("%d calls, %d dropped; want %d and %d", u.Calls, u.Dropped.Calls, DefaultCalls, calls+5-DefaultCalls)
	}
	list := s.Calls()
	for i, m := range open {
		if list[i].ID != m.id {
			t.Fatalf("call %d = %d, want the open call %d", i, list[i].ID, m.id)
		}
		m.end()
	}
	if first := list[5].ID; first != calls+5-(DefaultCalls-5)+1 {
		t.Errorf("the oldest ended call is %d", first)
	}
	s.check()
}

// Of a call with many messages, the first and the newest are kept.
func TestLongWatch(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	w := s.begin("/a.B/Watch")
	const total = 150_000
	for i := range total {
		w.receive(message(i))
	}
	s.check()
	d := s.Call(w.id)
	kept := d.Stored - d.Dropped
	if d.Stored != total || d.Received.Messages != total || kept > MaxMessages || kept < MaxMessages-blockMessages || d.Lost() != 0 {
		t.Errorf("stored %d, dropped %d, lost %d", d.Stored, d.Dropped, d.Lost())
	}
	next := uint64(0)
	messages, n := s.Messages(w.id, 0, total)
	if n != total || uint64(len(messages)) != kept {
		t.Fatalf("%d messages of %d, want %d", len(messages), n, kept)
	}
	for i, m := range messages {
		if i == Head {
			next += d.Dropped
		}
		if m.Position != next || string(m.Data) != string(message(int(next))) {
			t.Fatalf("message %d at %d = %q, want %d", i, m.Position, m.Data, next)
		}
		if want := time.Millisecond; m.Since != want && i > 0 {
			t.Fatalf("message %d came after %v, want %v", i, m.Since, want)
		}
		next++
	}
	for _, from := range []uint64{0, 3, Head, Head + 1, Head + d.Dropped - 1, Head + d.Dropped, total - 1} {
		want := from
		if from >= Head && from < Head+d.Dropped {
			want = Head + d.Dropped
		}
		if m, _ := s.Messages(w.id, from, 1); len(m) != 1 || m[0].Position != want {
			t.Errorf("from %d: got %v, want position %d", from, m, want)
		}
	}
	if m, _ := s.Messages(w.id, total, 1); len(m) != 0 {
		t.Errorf("after the end: %v", m)
	}
	if times := s.Times(w.id); len(times) != len(messages) || times[0] != messages[0].Time.UnixNano() {
		t.Errorf("%d times", len(times))
	}
}

// The memory that is counted is that which is used.
func TestMemory(t *testing.T) {
	const limit = 8 << 20
	before := heap()
	s := newSource(t, Options{Memory: limit})
	watch := s.begin("/a.B/Watch")
	metadata := []hpack.HeaderField{{Name: "x-request", Value: strings.Repeat("x", 100)}}
	for i := range 60_000 {
		watch.receive(bytes.Repeat([]byte("w"), i%200))
		if i%10 == 0 {
			m := s.begin("/a.B/Big", slices.Clone(metadata)...)
			m.send(bytes.Repeat([]byte("b"), i%5000))
			m.receive(bytes.Repeat([]byte("b"), 300))
			m.end()
		}
		if u := s.Usage().Memory; u > limit {
			t.Fatalf("%d bytes are in use", u)
		}
	}
	s.check()
	counted, used := s.Usage().Memory, heap()-before
	t.Logf("counted %d KiB, used %d KiB", counted>>10, used>>10)
	if counted < limit*9/10 || used > limit*5/4 {
		t.Errorf("%d bytes are counted, and %d used", counted, used)
	}
	if m, _ := s.Messages(watch.id, 0, Head); len(m) != Head {
		t.Errorf("%d of the first %d messages are kept", len(m), Head)
	}
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // also memory that finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// If everything that is left is open, bodies and calls aren't kept, and that is counted.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	const limit = 256 << 10
	s := newSource(t, Options{Memory: limit})
	var calls []*made
	for range 1000 {
		m := s.begin("/a.B/C", hpack.HeaderField{Name: "a", Value: strings.Repeat("x", 2000)})
		for i := range 3 {
			m.receive(message(i))
		}
		calls = append(calls, m)
	}
	s.check()
	u := s.Usage()
	if u.Memory > limit+64<<10 || u.Calls == 0 || uint64(u.Calls)+u.Dropped.Calls != 1000 {
		t.Errorf("%d bytes, %d calls, %d not kept", u.Memory, u.Calls, u.Dropped.Calls)
	}
	for _, m := range calls {
		m.end()
	}
	s.check()
	if last := s.unary(message(1), message(2)); last.id == 0 {
		t.Error("there is no room after the calls have ended")
	}
	if ms, _ := s.Messages(s.unary(message(1), message(2)).id, 0, 9); len(ms) != 2 || string(ms[1].Data) != "message 2" {
		t.Errorf("messages = %v", ms)
	}
}

// The largest call loses messages first, and no call its first ones.
func TestLargest(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{Memory: 2 << 20})
	small, large := s.begin("/a.B/Small"), s.begin("/a.B/Large")
	for i := range 500 {
		small.receive(message(i))
	}
	for i := range 100_000 {
		large.receive(message(i))
	}
	s.check()
	if d := s.Call(small.id); d.Dropped != 0 {
		t.Errorf("the small call has lost %d messages", d.Dropped)
	}
	if d := s.Call(large.id); d.Dropped == 0 {
		t.Error("the large call has lost no messages")
	}
}

func TestLongMessage(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	m := s.begin("/a.B/C")
	for _, size := range []int{0, 1, MaxBody, MaxBody + 1, 4 << 20} {
		m.receive(make([]byte, size))
	}
	messages, _ := s.Messages(m.id, 0, 9)
	for i, want := range []int{0, 1, MaxBody, LongBody, LongBody} {
		if len(messages[i].Data) != want {
			t.Errorf("message %d has %d bytes, want %d", i, len(messages[i].Data), want)
		}
	}
	if size := messages[4].Size; size != 4<<20 {
		t.Errorf("size = %d", size)
	}
	s.check()
}

// A reader that asks now and then for changes has the same calls as the store, whatever
// happened in between.
func TestChanges(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	s := newSource(t, Options{Calls: 50, Memory: 1 << 20})
	known, open := map[uint64]Call{}, []*made{}
	rev, resets := uint64(0), 0
	for range 20_000 {
		switch n := random.IntN(10); {
		case n < 2 && len(open) < 60:
			open = append(open, s.begin("/a.B/C"))
		case len(open) == 0:
		case n < 4:
			i := random.IntN(len(open))
			open[i].end()
			open = slices.Delete(open, i, i+1)
		default:
			open[random.IntN(len(open))].receive(make([]byte, random.IntN(2000)))
		}
		if random.IntN(50) > 0 {
			continue
		}
		b := s.Changes(rev)
		if b.Reset {
			resets++
			clear(known)
		}
		for _, c := range b.Calls {
			if old, ok := known[c.ID]; ok && old.Rev >= c.Rev {
				t.Fatalf("call %d is there again without a change", c.ID)
			}
			known[c.ID] = c
		}
		for _, id := range b.Gone {
			delete(known, id)
		}
		if rev = b.Rev; resets > 0 {
			t.Fatal("reset")
		}
		all := map[uint64]Call{}
		for _, c := range s.Calls() {
			all[c.ID] = c
		}
		if !maps.EqualFunc(all, known, func(a, b Call) bool { return a.Rev == b.Rev && a.Stored == b.Stored && a.Ended == b.Ended }) {
			t.Fatalf("at rev %d the reader has %d calls, the store %d", rev, len(known), len(all))
		}
	}
	s.check()
}

// A reader that was away for too long, or that knows another store, is told so.
func TestReset(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{Calls: 10})
	s.unary(nil, nil)
	early := s.Rev()
	for range 3 * maxGone {
		s.unary(nil, nil)
	}
	for since, want := range map[uint64]bool{0: false, early: true, s.Rev(): false, s.Rev() + 1: true} {
		b := s.Changes(since)
		if b.Reset != want {
			t.Errorf("since %d: reset = %v", since, b.Reset)
		}
		if b.Reset && (len(b.Calls) != 10 || len(b.Gone) != 0) {
			t.Errorf("after a reset there are %d calls, %d gone", len(b.Calls), len(b.Gone))
		}
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	m := s.begin("/a.B/C")
	select {
	case <-s.Changed(0):
	default:
		t.Error("a change before isn't reported")
	}
	changed := s.Changed(s.Rev())
	select {
	case <-changed:
		t.Error("a change is reported without one")
	default:
	}
	m.end()
	<-changed
	rev := s.Rev()
	s.Touch("/a.B/C")
	if s.Rev() == rev || s.Call(m.id).Rev != s.Rev() {
		t.Error("Touch is no change")
	}
}

// Events of a call that had no room are ignored, and so are those without a call.
func TestIgnored(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	s.Event(&trace.Event{Type: trace.ServerMessage, Call: 7, Data: []byte("x"), Size: 1})
	s.Event(&trace.Event{Type: trace.GoAway})
	s.Event(&trace.Event{Type: trace.Lost, Lost: trace.Losses{Events: 3, Calls: 2}})
	s.Event(&trace.Event{Type: trace.Other, Message: trace.Encrypted})
	s.Event(&trace.Event{Type: trace.Other, Duration: 1}) // its end
	if u := s.Usage(); u.Dropped.Encrypted != 1 || u.Calls != 0 || u.Dropped.Lost.Events != 3 || u.Dropped.Lost.Calls != 2 {
		t.Errorf("usage = %+v", u)
	}
	if s.Call(1) != nil || s.Events(1) != nil {
		t.Error("there is a call")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	r, start := &rates{}, time.Unix(1_000_000, 0)
	for i := range 100 {
		for range i {
			r.add(start.Add(time.Duration(i) * time.Second))
		}
	}
	now := start.Add(99 * time.Second)
	want := []uint32{}
	for i := uint32(40); i < 100; i++ {
		want = append(want, i)
	}
	if got := r.list(now); !slices.Equal(got, want) {
		t.Errorf("rates = %v", got)
	}
	if got := r.list(now.Add(58 * time.Second)); len(got) != 60 || got[0] != 98 || got[1] != 99 || got[2] != 0 {
		t.Errorf("58 seconds later the rates are %v", got)
	}
	if got := r.list(now.Add(time.Hour)); got != nil {
		t.Errorf("an hour later the rates are %v", got)
	}
	r.add(now.Add(-2 * time.Second)) // events may be out of order
	r.add(now.Add(-time.Hour))
	if got := r.list(now); got[57] != 98 {
		t.Errorf("rates = %v", got)
	}
}

// Events has the events of a call as a trace has them, and shows where messages are missing.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	m := s.begin("/a.B/C", hpack.HeaderField{Name: "a", Value: "b"})
	m.send(message(1))
	m.event(trace.Event{Type: trace.ClientHalfClose})
	m.event(trace.Event{Type: trace.ServerHeader})
	m.receive(message(2))
	m.event(trace.Event{Type: trace.ServerTrailer, Code: codes.NotFound, Message: "no", Duration: 5 * time.Millisecond})
	var types []trace.Type
	for i, e := range s.Events(m.id) {
		types = append(types, e.Type)
		if e.Seq != uint32(i)+1 || e.Call != m.id || e.Method != "/a.B/C" {
			t.Errorf("event %d = %+v", i, e)
		}
	}
	if want := []trace.Type{trace.ClientHeader, trace.ClientMessage, trace.ClientHalfClose, trace.ServerHeader, trace.ServerMessage, trace.ServerTrailer}; !slices.Equal(types, want) {
		t.Errorf("types = %v, want %v", types, want)
	}
	long := s.begin("/a.B/C")
	for range MaxMessages + 1000 {
		long.receive(nil)
	}
	events, d := s.Events(long.id), s.Call(long.id)
	if got := events[1+Head].Seq - events[Head].Seq; d.Dropped == 0 || uint64(got) != d.Dropped+1 {
		t.Errorf("%d messages are dropped, and the gap is %d", d.Dropped, got)
	}
}
