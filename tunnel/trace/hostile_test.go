package trace

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/mux"
)

// hostile writes the bytes of both sides of a connection, and passes them on to an
// observer.
type hostile struct {
	o     *mux.StreamObserver
	out   [2]bytes.Buffer // by sender
	f     [2]*http2.Framer
	block bytes.Buffer
	hpack [2]*hpack.Encoder
}

// newHostile begins a connection whose ends allow HPACK tables of this size.
func newHostile(tracer *Tracer, table uint32) *hostile {
	return connect(tracer.Session(1)(1, false), table)
}

// connect is newHostile for any observer. The client's bytes are received.
func connect(o *mux.StreamObserver, table uint32) *hostile {
	h := &hostile{o: o}
	h.out[Client].WriteString(http2.ClientPreface)
	for _, sender := range []Side{Client, Server} {
		h.f[sender] = http2.NewFramer(&h.out[sender], nil)
		h.f[sender].AllowIllegalWrites = true
		_ = h.f[sender].WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: table})
		h.hpack[sender] = hpack.NewEncoder(&h.block)
		h.hpack[sender].SetMaxDynamicTableSizeLimit(table)
		h.hpack[sender].SetMaxDynamicTableSize(table)
	}
	h.flush()
	return h
}

// flush passes on the bytes that have been written.
func (h *hostile) flush() {
	h.o.Received(h.out[Client].Bytes())
	h.o.Sent(h.out[Server].Bytes())
	h.out[Client].Reset()
	h.out[Server].Reset()
}

// headers writes a header block.
func (h *hostile) headers(sender Side, stream uint32, flags http2.Flags, fields ...hpack.HeaderField) {
	h.block.Reset()
	for _, f := range fields {
		_ = h.hpack[sender].WriteField(f)
	}
	_ = h.f[sender].WriteRawFrame(http2.FrameHeaders, flags, stream, h.block.Bytes())
	h.flush()
}

// request begins a call.
func (h *hostile) request(stream uint32, fields ...hpack.HeaderField) {
	h.headers(Client, stream, http2.FlagHeadersEndHeaders, append([]hpack.HeaderField{
		{Name: ":path", Value: "/test.S/M"}, {Name: "content-type", Value: "application/grpc"},
	}, fields...)...)
}

// fill fills the tables of both directions with entries of this size in bytes.
func (h *hostile) fill(table, size int) {
	n := uint32(1)
	for filled := 0; filled < table; n += 2 {
		var fields []hpack.HeaderField
		for list := 0; filled < table && list < 60<<10; filled, list = filled+size, list+size {
			name := string([]byte{byte(filled), byte(filled >> 8), byte(filled >> 16)})
			fields = append(fields, hpack.HeaderField{Name: name, Value: strings.Repeat("v", size-32-len(name))})
		}
		h.headers(Client, n, http2.FlagHeadersEndHeaders, fields...)
		h.headers(Server, n, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, fields...)
	}
}

// unindexed returns a field that isn't added to a table.
func unindexed(name string, length int) hpack.HeaderField {
	return hpack.HeaderField{Name: name, Value: strings.Repeat("x", length), Sensitive: true}
}

// TestMemory checks that the memory of hostile connections is charged.
func TestMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const large, memory = 200 << 10, 8 << 20
	message := append([]byte{0, 0x7f, 0, 0, 0}, make([]byte, 100<<10)...)
	for _, test := range []struct {
		name    string
		streams int
		attack  func(*hostile)
	}{
		{"a call", 100, func(h *hostile) { h.request(1) }},
		{"large table entries", 50, func(h *hostile) { h.fill(64<<10, 8<<10) }},
		{"table entries", 75, func(h *hostile) { h.fill(64<<10, 100) }},
		{"small table entries", 37, func(h *hostile) { h.fill(64<<10, 37) }},
		{"default table", 100, func(h *hostile) {
			h.hpack[Client].SetMaxDynamicTableSize(4 << 10)
			h.hpack[Server].SetMaxDynamicTableSize(4 << 10)
			h.fill(4<<10, 37)
		}},
		{"large header", 50, func(h *hostile) {
			h.request(1, unindexed("x", large))
		}},
		{"long path", 50, func(h *hostile) {
			h.request(1, unindexed(":path", large))
		}},
		{"long status", 25, func(h *hostile) {
			h.request(1)
			h.headers(Server, 1, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, unindexed("grpc-message", large))
		}},
		{"large header in pieces", 50, func(h *hostile) {
			h.headers(Client, 1, 0, unindexed("x", large))
			_ = h.f[Client].WriteContinuation(1, true, nil)
			h.flush()
		}},
		{"unfinished header", 50, func(h *hostile) {
			h.headers(Client, 1, 0, unindexed("x", large))
			h.headers(Server, 1, 0, unindexed("x", large))
		}},
		{"unfinished header lists", 100, func(h *hostile) {
			var fields []hpack.HeaderField
			for range 60 {
				fields = append(fields, unindexed("x", 1000))
			}
			h.headers(Client, 1, 0, fields...)
			h.headers(Server, 1, 0, fields...)
		}},
		{"short unfinished headers", 100, func(h *hostile) {
			h.headers(Client, 1, 0, unindexed("x", 4000))
			h.headers(Server, 1, 0, unindexed("x", 4000))
		}},
		{"many fields", 100, func(h *hostile) {
			fields := make([]hpack.HeaderField, 2000)
			h.headers(Client, 1, http2.FlagHeadersEndHeaders, fields...)
			h.headers(Server, 1, http2.FlagHeadersEndHeaders, fields...)
		}},
		{"unfinished messages", 25, func(h *hostile) {
			for stream := uint32(1); stream < 20; stream += 2 {
				h.request(stream)
				_ = h.f[Client].WriteData(stream, false, message)
				h.flush()
			}
		}},
		{"reset messages", 25, func(h *hostile) {
			for stream := uint32(1); stream < 20; stream += 2 {
				h.request(stream)
				_ = h.f[Client].WriteData(stream, false, message)
				_ = h.f[Client].WriteRSTStream(stream, http2.ErrCodeCancel)
				h.flush()
			}
		}},
		{"long texts of calls", 2, func(h *hostile) {
			for stream := uint32(1); stream < 100; stream += 2 {
				h.request(stream, unindexed(":path", 10<<10), unindexed("grpc-encoding", 10<<10), unindexed("grpc-timeout", 10<<10))
				h.headers(Server, stream, http2.FlagHeadersEndHeaders,
					unindexed(":status", 10<<10), unindexed("content-type", 10<<10), unindexed("grpc-encoding", 10<<10))
			}
		}},
		{"open calls", 5, func(h *hostile) {
			for stream := uint32(1); stream < 2000; stream += 2 {
				h.request(stream, unindexed(":path", 512))
			}
		}},
		{"ended calls", 20, func(h *hostile) {
			for stream := uint32(1); stream < 10000; stream += 2 {
				_ = h.f[Client].WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, nil)
			}
			for stream := uint32(3); stream < 10000; stream += 2 {
				_ = h.f[Client].WriteRSTStream(stream, http2.ErrCodeCancel)
			}
			h.flush()
		}},
		{"unfinished control frames", 100, func(h *hostile) {
			for _, sender := range []Side{Client, Server} {
				_ = h.f[sender].WriteGoAway(0, 0, make([]byte, 10<<10))
				h.out[sender].Truncate(5 << 10)
			}
			h.flush()
		}},
		{"long resets", 100, func(h *hostile) {
			for _, sender := range []Side{Client, Server} {
				_ = h.f[sender].WriteRawFrame(http2.FrameRSTStream, 0, 1, make([]byte, 10<<10))
			}
			h.flush()
		}},
		{"malformed", 50, func(h *hostile) {
			h.fill(64<<10, 8<<10)
			_ = h.f[Client].WriteContinuation(1, true, nil)
			h.flush()
		}},
		{"HPACK errors", 50, func(h *hostile) {
			h.fill(64<<10, 8<<10)
			for _, sender := range []Side{Client, Server} {
				_ = h.f[sender].WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 99, []byte{0x80})
			}
			h.flush()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tracer, events := newTracer(t, memory, Output{Body: -1, Queue: 1})
			before := heap()
			var conns []*hostile
			for range test.streams {
				conns = append(conns, newHostile(tracer, 64<<10))
			}
			var observers []*mux.StreamObserver
			for i, h := range conns { // some of them when no memory is left
				test.attack(h)
				observers, conns[i] = append(observers, h.o), nil
			}
			held, charged := heap()-before, tracer.used.Load()
			t.Logf("%d KiB of %d charged, %d held", charged>>10, memory>>10, held>>10)
			const other = 512 << 10 // of streams that aren't traced, and of the test
			if held > charged+charged/4+other {
				t.Errorf("%d KiB charged, but %d held", charged>>10, held>>10)
			}
			for _, o := range observers {
				o.End(nil)
			}
			events()
		})
	}
}

// heap returns the bytes in use on the heap.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Connections beyond the memory aren't traced. The others are traced as before, but for
// their calls in the meantime.
func TestMemoryUsedUp(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 10*connMemory, Output{})
	h := newHostile(tracer, 64<<10)
	calls := func(first uint32) {
		for stream := first; stream < first+200; stream += 2 {
			h.request(stream, hpack.HeaderField{Name: "k", Value: strings.Repeat("v", int(stream))})
			h.headers(Server, stream, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, hpack.HeaderField{Name: "grpc-status", Value: "0"})
		}
	}
	calls(1)
	var others []*hostile
	for range 20 {
		others = append(others, newHostile(tracer, 4<<10))
	}
	calls(201)
	for _, other := range others {
		other.o.End(nil)
	}
	calls(401)
	h.o.End(nil)
	begun := 0
	var lost Losses
	for _, e := range events() {
		switch e.Type {
		case ClientHeader:
			if begun++; e.Method != "/test.S/M" {
				t.Errorf("%s", e.String())
			}
		case Lost:
			lost.Calls += e.Lost.Calls
			lost.Conns += e.Lost.Conns
		}
	}
	if begun < 200 || begun+int(lost.Calls) != 300 || lost.Conns == 0 {
		t.Errorf("%d calls, lost %+v", begun, lost)
	}
}
