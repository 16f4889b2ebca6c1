package trace

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// attached is a recorder that is attached to a Tracer.
type attached struct {
	recorder
	detach func()
	closed chan struct{}
}

func (a *attached) Close() { close(a.closed) }

// attach attaches a recorder.
func attach(t *testing.T, tracer *Tracer, o Output) *attached {
	t.Helper()
	a := &attached{closed: make(chan struct{})}
	o.Sink = a
	for {
		detach, err := tracer.Attach(o)
		if errors.Is(err, ErrAttached) { // an earlier Sink is about to return from Close
			runtime.Gosched()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		a.detach = detach
		return a
	}
}

// end detaches a, and returns its events.
func (a *attached) end(t *testing.T) []Event {
	t.Helper()
	a.detach()
	a.detach()
	<-a.closed
	return a.events
}

// finish ends the call on a stream.
func (h *hostile) finish(stream uint32) {
	_ = h.f[Server].WriteRSTStream(stream, http2.ErrCodeCancel)
	h.flush()
}

const cancelled = "cancel by server: CANCEL"

// An output receives the events of calls that begin while it is attached.
func TestAttach(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	h := newHostile(tracer, 4096)
	h.request(1)
	first := attach(t, tracer, Output{})
	h.request(3)
	second := attach(t, tracer, Output{})
	h.request(5)
	tracer.GoAway("soon")
	check(t, first.end(t), "2.1 "+clientHeader, "3.1 "+clientHeader, `0.0 goaway by wstun: NO_ERROR "soon"`)
	third := attach(t, tracer, Output{}) // takes the place of first, but not its calls
	for _, stream := range []uint32{1, 3, 5} {
		h.finish(stream)
	}
	h.o.End(nil)
	check(t, second.end(t), "3.1 "+clientHeader, `0.0 goaway by wstun: NO_ERROR "soon"`, "3.2 "+cancelled)
	check(t, third.end(t))
	check(t, events(), "1.1 "+clientHeader, "2.1 "+clientHeader, "3.1 "+clientHeader, `0.0 goaway by wstun: NO_ERROR "soon"`,
		"1.2 "+cancelled, "2.2 "+cancelled, "3.2 "+cancelled)
}

// Without an output nothing is traced, and a stream that was traced before lets go of its
// memory.
func TestAttachUnwatched(t *testing.T) {
	t.Parallel()
	tracer := New(0)
	if o, l := tracer.Session(1)(1, true), tracer.Local(time.Time{}); o != nil || l != nil {
		t.Errorf("without an output: observer %v, local %v", o, l)
	}
	a := attach(t, tracer, Output{Body: -1})
	silent := tracer.Session(1)(3, false)
	h, local := newHostile(tracer, 4096), tracer.Local(time.Time{})
	h.request(1)
	local.Received([]byte(http2.ClientPreface))
	if tracer.used.Load() < 2*connMemory {
		t.Errorf("%d bytes are charged", tracer.used.Load())
	}
	check(t, a.end(t), "1.1 "+clientHeader)
	h.request(3)
	local.Received([]byte{0})
	if used := tracer.used.Load(); used != 0 {
		t.Errorf("%d bytes are charged without an output", used)
	}
	unbegun := connect(silent, 4096)
	later := attach(t, tracer, Output{})
	h.request(5)
	unbegun.request(3) // its beginning is missing
	local.Close()
	newHostile(tracer, 4096).request(1)
	h.o.End(nil)
	check(t, later.end(t), "2.1 "+clientHeader)
}

// Bodies are kept for the outputs that want them, only as long as they are attached.
func TestAttachBodies(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{Body: 1})
	a := attach(t, tracer, Output{Body: -1})
	h := newHostile(tracer, 4096)
	h.request(1)
	send := func(p []byte) {
		_ = h.f[Client].WriteData(1, false, p)
		h.flush()
	}
	message := []byte("\x00\x00\x00\x00\x05hello")
	send(message)
	if got := a.end(t); len(got) != 2 || string(got[1].Data) != "hello" {
		t.Errorf("events %q, with %q", lines(got), got[len(got)-1].Data)
	}
	send(message) // with it, the call finds that the output is detached
	before := tracer.used.Load()
	send([]byte("\x00\x00\x00\xff\x00"))
	send(make([]byte, 0xf000))
	if used := tracer.used.Load() - before; used > 1<<10 {
		t.Errorf("%d bytes are charged for a message", used)
	}
	h.o.End(nil)
	for _, e := range events() {
		if e.Type == ClientMessage && string(e.Data) != "h" {
			t.Errorf("%s has %q", e.String(), e.Data)
		}
	}
}

// A Relay doesn't trace streams that begin without an output.
func TestAttachRelay(t *testing.T) {
	t.Parallel()
	tracer := New(0)
	r := tracer.Relay(1)
	send := func(stream uint32, flags uint16, body string) {
		r.Dialing(wsFrame(0x82, true, yamuxFrame(0, flags, stream, body)))
	}
	send(1, syn, preface)
	a := attach(t, tracer, Output{})
	send(1, 0, "PUT / HTTP/1.1\r\n")
	send(3, syn, preface)
	send(5, syn, "PUT / HTTP/1.1\r\n")
	check(t, a.end(t), `0.0 other "an HTTP/1 request" by client: sent 0, received 0`)
	send(3, 0, "\x00\x00\x00\x04\x01\x00\x00\x00\x00")
	send(5, 0, "a")
	if used := tracer.used.Load(); used != 0 || len(r.streams) != 0 {
		t.Errorf("%d bytes are charged for %d streams without an output", used, len(r.streams))
	}
	r.Lost("lost")
	if reason := r.End(); reason != "lost" {
		t.Errorf("End = %q", reason)
	}
}

// A stuck sink takes one of the places until it returns, and keeps nobody waiting.
func TestAttachStuck(t *testing.T) {
	t.Parallel()
	tracer := New(0)
	sink := newStuck()
	detach, err := tracer.Attach(Output{Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	tracer.GoAway("the first event")
	tunneltest.Await(t, "the first event", sink.entered)
	h := newHostile(tracer, 4096)
	h.request(1)
	detach()
	h.request(3)
	h.o.End(nil)
	for range MaxAttached - 1 {
		attach(t, tracer, Output{})
	}
	if _, err := tracer.Attach(Output{Sink: sink}); !errors.Is(err, ErrAttached) {
		t.Errorf("Attach = %v, want ErrAttached", err)
	}
	close(sink.release)
	var next func()
	for next == nil {
		next, _ = tracer.Attach(Output{Sink: nothing{}})
	}
	next()
	check(t, sink.events, `0.0 goaway by wstun: NO_ERROR "the first event"`, "1.1 "+clientHeader)
	if err := tracer.Close(soon()); err != nil {
		t.Error(err)
	}
	if _, err := tracer.Attach(Output{Sink: nothing{}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Attach after Close = %v, want net.ErrClosed", err)
	}
}

// While calls pass, outputs come and go. Each receives calls from their beginning on. On a
// busy machine, an output may lose other events.
func TestAttachRace(t *testing.T) {
	t.Parallel()
	tracer := New(0, Output{Sink: nothing{}})
	preface, _ := unaryCall()
	stop := make(chan struct{})
	var traffic, watching sync.WaitGroup
	for range 4 {
		traffic.Go(func() {
			for {
				_, call := unaryCall()
				o := tracer.Session(1)(1, false)
				o.Received(preface[Client])
				o.Sent(preface[Server])
				for stream := uint32(3); stream < 100; stream += 2 {
					setStream(call[Client], stream)
					setStream(call[Server], stream)
					o.Received(call[Client])
					o.Sent(call[Server])
				}
				o.End(nil)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 4 {
		watching.Go(func() {
			for range 100 {
				a := attach(t, tracer, Output{Body: -1})
				tracer.GoAway("watched")
				events := a.end(t)
				latest, open, isWatched := map[uint64]uint32{}, 0, false
				for _, e := range events {
					switch isWatched = isWatched || e.Type == GoAway || e.Lost.Events > 0; {
					case e.Call == 0:
						continue
					case (e.Type == ClientHeader) != (latest[e.Call] == 0), e.Seq <= latest[e.Call]:
						t.Errorf("%s follows %d", e.String(), latest[e.Call])
					case e.Type == ClientHeader:
						open++
					case e.IsEnd():
						open--
					}
					latest[e.Call] = e.Seq
				}
				if open > 4 || !isWatched {
					t.Errorf("of %d events, the GOAWAY is %t, and %d ends are missing", len(events), isWatched, open)
				}
			}
		})
	}
	watching.Wait()
	close(stop)
	traffic.Wait()
	if err := tracer.Close(soon()); err != nil {
		t.Error(err)
	}
	if used := tracer.used.Load(); used != 0 {
		t.Errorf("%d bytes are still charged", used)
	}
}

// Outputs that have come and gone leave nothing, although calls that they received are open.
func TestAttachMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	tracer, _ := newTracer(t, 0, Output{Queue: 1 << 10})
	h := newHostile(tracer, 4096)
	defer func() { h.o.End(nil) }()
	cycle := func(n uint32) {
		a := attach(t, tracer, Output{Body: -1})
		h.request(1 + 2*n)
		_ = h.f[Client].WriteData(1+2*n, false, append([]byte("\x00\x00\x01\x00\x00"), make([]byte, 16<<10)...)) // a part of a message
		h.flush()
		if events := a.end(t); len(events) != 1 {
			t.Fatalf("events %q", lines(events))
		}
		h.finish(1 + 2*n)
	}
	cycle(0)
	before := heap()
	for n := range uint32(1000) {
		cycle(1 + n)
	}
	if held := heap() - before; held > 1<<20 {
		t.Errorf("%d bytes are held", held)
	}
	for n := range uint32(1000) { // calls that stay open
		a := attach(t, tracer, Output{Body: -1})
		h.request(10_001 + 2*n)
		a.end(t)
	}
	if held := heap() - before; held > 4<<20 {
		t.Errorf("%d bytes are held by open calls", held)
	}
	for attached := 1; attached > 0; runtime.Gosched() {
		tracer.mu.Lock()
		attached = tracer.attached
		tracer.mu.Unlock()
	}
}
