package trace

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// drain returns the events that wait in q, and the losses.
func drain(q *queue) (events []Event, lost Losses) {
	for {
		b, _ := q.take(nil)
		if b == nil {
			return events, lost
		}
		events = append(events, b.events...)
		lost.Events += b.lost.Events
		lost.Calls += b.lost.Calls
		lost.Bytes += b.lost.Bytes
		lost.Conns += b.lost.Conns
	}
}

func TestQueueOrder(t *testing.T) {
	t.Parallel()
	var q queue
	q.init(1 << 20)
	check := func() {
		t.Helper()
		if q.used+q.reserved > q.limit {
			t.Fatalf("%d bytes used and %d reserved of %d", q.used, q.reserved, q.limit)
		}
	}
	begin := func(call uint64) bool {
		defer check()
		return q.put(&Event{Type: ClientHeader, Call: call, Method: "/test.S/M", Metadata: []hpack.HeaderField{{Name: "k", Value: "v"}}})
	}
	if !begin(1) {
		t.Fatal("the first call was lost")
	}
	room := q.limit - q.reserved
	body := make([]byte, 1000)
	withBody, without, lost := 0, 0, 0
	for range 5000 {
		e := Event{Type: ClientMessage, Call: 1, Size: 1000, Data: body}
		before := q.used
		q.put(&e)
		check()
		switch stored := q.used - before; {
		case stored > 1000:
			withBody++
			if q.used > room/2 {
				t.Fatalf("a body was queued at %d of %d bytes", q.used, room)
			}
		case stored > 0:
			without++
			if q.used < room/2-1000 || q.used > room/4*3 {
				t.Fatalf("a message without its body was queued at %d of %d bytes", q.used, room)
			}
		default:
			lost++
			if q.used+eventMemory <= room/4*3 {
				t.Fatalf("a message was lost at %d of %d bytes", q.used, room)
			}
		}
	}
	if withBody == 0 || without == 0 || lost == 0 {
		t.Errorf("%d messages with bodies, %d without, %d lost", withBody, without, lost)
	}
	calls := uint64(1)
	for begin(calls + 1) {
		calls++
	}
	if calls < 10 || q.used+q.reserved < q.limit-2*eventMemory-1000 {
		t.Errorf("a call was lost after %d at %d bytes", calls, q.used+q.reserved)
	}
	for call := range calls { // with more text than was reserved
		q.put(&Event{
			Type: ServerTrailer, Call: call + 1, Method: "/test.S/M", Message: strings.Repeat("m", 10_000),
			HTTPStatus: strings.Repeat("2", maxStatus), ContentType: strings.Repeat("c", maxShort),
			Metadata: []hpack.HeaderField{{Name: "k", Value: strings.Repeat("v", 10_000)}},
		})
		check()
	}
	if q.reserved != 0 {
		t.Errorf("%d bytes are still reserved", q.reserved)
	}
	events, losses := drain(&q)
	ends := map[uint64]bool{}
	for _, e := range events {
		if e.IsEnd() {
			ends[e.Call] = true
			if len(e.Message) < maxText || e.ContentType == "" {
				t.Fatalf("the end has %d bytes of its message and content type %q", len(e.Message), e.ContentType)
			}
		}
	}
	if len(ends) != int(calls) {
		t.Errorf("%d ends of %d calls", len(ends), calls)
	}
	if want := (Losses{Events: uint64(lost), Calls: 1, Bytes: int64(without+lost) * 1000}); losses != want {
		t.Errorf("lost %+v, want %+v", losses, want)
	}
}

// stuck is a Sink that blocks in its first Event until release is closed.
type stuck struct {
	recorder
	entered, release chan struct{}
}

func newStuck() *stuck {
	return &stuck{entered: make(chan struct{}, 1), release: make(chan struct{})}
}

func (s *stuck) Event(e *Event) {
	signal(s.entered)
	<-s.release
	s.recorder.Event(e)
}

// While the sink is stuck, calls go on, memory is bounded, and all losses are counted.
func TestStuckSink(t *testing.T) { //nolint:paralleltest // it measures the heap
	const conns, calls, limit = 10, 10_000, 2 << 20
	sink := newStuck()
	tracer := New(0, Output{Sink: sink, Body: -1, Queue: limit})
	tracer.GoAway("the first event")
	tunneltest.Await(t, "the first event", sink.entered)
	before := heap()
	preface, call := unaryCall()
	for range conns {
		o := tracer.Session(1)(1, false)
		o.Received(preface[Client])
		o.Sent(preface[Server])
		for i := range uint32(calls - 1) {
			setStream(call[Client], 3+2*i)
			setStream(call[Server], 3+2*i)
			o.Received(call[Client])
			o.Sent(call[Server])
		}
		o.End(nil)
	}
	if held := heap() - before; held > 3*limit {
		t.Errorf("the queue of %d bytes holds %d", limit, held)
	}
	if used := tracer.used.Load(); used != 0 {
		t.Errorf("%d bytes are still charged", used)
	}
	close(sink.release)
	if err := tracer.Close(soon()); err != nil {
		t.Fatal(err)
	}
	var events, begins, ends uint64
	var lost Losses
	var bodies int64
	seq := map[uint64]uint32{}
	for _, e := range sink.events {
		lost.Events += e.Lost.Events
		lost.Calls += e.Lost.Calls
		lost.Bytes += e.Lost.Bytes
		bodies += int64(len(e.Data))
		if e.Call == 0 {
			continue
		}
		events++
		if e.Seq <= seq[e.Call] {
			t.Fatalf("%s follows %d", e.String(), seq[e.Call])
		}
		seq[e.Call] = e.Seq
		if e.Type == ClientHeader {
			begins++
		}
		if e.IsEnd() {
			ends++
			if e.Seq != 6 || e.Sent.Messages != 1 || e.Received.Messages != 1 {
				t.Fatalf("the end is %s, with %v and %v messages", e.String(), e.Sent, e.Received)
			}
		}
	}
	const bodyLen = 10
	if begins != ends || begins+lost.Calls != conns*calls || events+lost.Events != 6*begins || bodies+lost.Bytes != int64(2*bodyLen*begins) {
		t.Errorf("%d events, %d begins, %d ends, %d bytes; lost %+v", events, begins, ends, bodies, lost)
	}
	if lost.Calls == 0 || lost.Events == 0 || lost.Bytes == 0 {
		t.Errorf("lost %+v, want some of each", lost)
	}
}

func TestCloseStuck(t *testing.T) {
	t.Parallel()
	sink := newStuck()
	tracer := New(0, Output{Sink: sink})
	tracer.GoAway("1")
	tunneltest.Await(t, "the first event", sink.entered)
	tracer.GoAway("2")
	if err := tracer.Close(tunneltest.Ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("Close returned %v", err)
	}
	tracer.GoAway("after Close")
	close(sink.release)
	if err := tracer.Close(soon()); err != nil {
		t.Error(err)
	}
	if len(sink.events) != 2 {
		t.Errorf("%d events, want 2", len(sink.events))
	}
}

// Losses are reported without an event.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 1, Output{})
	o := tracer.Session(1)(1, false)
	o.Received([]byte("P"))
	o.Received([]byte("R"))
	o.Sent([]byte("x"))
	o.End(nil)
	if got := events(); len(got) != 1 || got[0].Type != Lost || got[0].Lost != (Losses{Conns: 1}) {
		t.Errorf("events %v", got)
	}
}

// sleeper is a Sink whose Flush asks for another one after an hour, and then for none.
type sleeper struct {
	nothing
	flushes []time.Time
}

func (s *sleeper) Close() {}

func (s *sleeper) Flush(now time.Time) (next time.Time) {
	s.flushes = append(s.flushes, now)
	if len(s.flushes) == 1 {
		return now.Add(time.Hour)
	}
	return time.Time{}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{}
		tracer := New(0, Output{Sink: s})
		begun := time.Now()
		synctest.Wait()
		<-time.After(2 * time.Hour) // of the bubble
		tracer.GoAway("an event")
		if err := tracer.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.flushes) < 3 || !s.flushes[1].Equal(begun.Add(time.Hour)) {
			t.Errorf("flushed at %v", s.flushes)
		}
	})
}

// Streams of any number of goroutines may be traced, while Memory and Queue run out.
func TestConcurrentStreams(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 64<<10, Output{Body: -1, Queue: 64 << 10})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				preface, call := unaryCall()
				o := tracer.Session(uint64(i))(1, false)
				o.Received(preface[Client])
				o.Sent(preface[Server])
				for stream := uint32(3); stream < 100; stream += 2 {
					setStream(call[Client], stream)
					setStream(call[Server], stream)
					o.Received(call[Client])
					if stream%3 != 0 {
						o.Sent(call[Server])
					}
				}
				o.End(nil)
			}
		})
	}
	wg.Wait()
	begins, ends := map[uint64]bool{}, map[uint64]bool{}
	for _, e := range events() {
		switch {
		case e.Type == ClientHeader:
			begins[e.Call] = true
		case e.IsEnd():
			ends[e.Call] = true
		}
	}
	if !maps.Equal(begins, ends) || len(begins) == 0 {
		t.Errorf("%d calls begin, %d end", len(begins), len(ends))
	}
	if tracer.closing[0].queue.used != 0 || tracer.closing[0].queue.reserved != 0 {
		t.Errorf("%d bytes of the queue are still used, %d reserved", tracer.closing[0].queue.used, tracer.closing[0].queue.reserved)
	}
}

// Omitted types don't reach the sink, but count in Seq.
func TestOmit(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{Omit: []Type{ServerHeader, ClientHalfClose, ServerTrailer}})
	preface, _ := unaryCall()
	o := tracer.Session(1)(1, false)
	o.Received(preface[Client])
	o.Sent(preface[Server])
	o.End(nil)
	var got []string
	for _, e := range events() {
		got = append(got, fmt.Sprint(e.Seq, " ", e.Type))
	}
	if want := []string{"1 client_header", "2 client_message", "5 server_message", "6 server_trailer"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Outputs have options and losses of their own.
func TestOutputs(t *testing.T) {
	t.Parallel()
	whole, part, full := &recorder{}, &recorder{}, &recorder{}
	tracer := New(0,
		Output{Sink: whole, Body: -1, Secrets: true},
		Output{Sink: part, Body: 2, Omit: []Type{ClientHeader, ClientHalfClose}},
		Output{Sink: full, Queue: 1})
	h := newHostile(tracer, 4096)
	h.request(1, hpack.HeaderField{Name: "authorization", Value: "s3cret"})
	_ = h.f[Client].WriteData(1, true, []byte("\x00\x00\x00\x00\x05hello"))
	h.headers(Server, 1, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, hpack.HeaderField{Name: "grpc-status", Value: "0"})
	h.o.End(nil)
	if err := tracer.Close(soon()); err != nil {
		t.Fatal(err)
	}
	const header, end = "1.1 client_header /test.S/M content-type=application/grpc authorization=", "1.4 server_trailer grpc-status=0 OK"
	check(t, whole.events, header+"s3cret", fmt.Sprintf("1.2 client_message 5 %x", crc32.ChecksumIEEE([]byte("hello"))), "1.3 client_half_close", end)
	check(t, part.events, header+Redacted, fmt.Sprintf("1.2 client_message 5 %x", crc32.ChecksumIEEE([]byte("he"))), end)
	if len(full.events) != 1 || full.events[0].Lost != (Losses{Calls: 1}) {
		t.Errorf("the events of the output without room are %v, want a lost call", full.events)
	}
}
