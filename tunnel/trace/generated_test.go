package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// generator writes random HTTP/2 that is legal.
type generator struct {
	*rand.Rand
	pieces []piece
	out    [2]bytes.Buffer // by sender
	framer [2]*http2.Framer
	block  [2]bytes.Buffer
	hpack  [2]*hpack.Encoder
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed))}
	table := []uint32{0, 100, 4096, 64 << 10}[g.IntN(4)]
	for _, sender := range []Side{Client, Server} {
		g.framer[sender] = http2.NewFramer(&g.out[sender], nil)
		g.hpack[sender] = hpack.NewEncoder(&g.block[sender])
		if sender == Client {
			g.out[sender].WriteString(http2.ClientPreface)
		}
		_ = g.framer[sender].WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: table})
		g.flush(sender)
	}
	for _, e := range g.hpack {
		e.SetMaxDynamicTableSizeLimit(table)
		e.SetMaxDynamicTableSize(table)
	}
	return g
}

// flush ends the current piece of a sender, so that its frames follow those of the other.
func (g *generator) flush(sender Side) {
	g.pieces = append(g.pieces, piece{sender, bytes.Clone(g.out[sender].Bytes())})
	g.out[sender].Reset()
}

// headers writes a header block of name and value pairs, in up to four frames.
func (g *generator) headers(sender Side, stream uint32, ended bool, pairs ...string) {
	b := &g.block[sender]
	b.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = g.hpack[sender].WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1], Sensitive: g.IntN(20) == 0})
	}
	parts := 1 + g.IntN(4)
	for i := range parts {
		n := b.Len()
		if i < parts-1 {
			n = g.IntN(n + 1)
		}
		p := http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Next(n), EndStream: ended, EndHeaders: i == parts-1}
		if i > 0 {
			_ = g.framer[sender].WriteContinuation(stream, p.EndHeaders, p.BlockFragment)
			continue
		}
		if g.IntN(2) == 0 {
			p.PadLength = uint8(g.IntN(256))
		}
		if g.IntN(2) == 0 {
			p.Priority = http2.PriorityParam{StreamDep: 1, Weight: 7}
		}
		_ = g.framer[sender].WriteHeaders(p)
	}
	g.flush(sender)
}

// messages writes up to three messages, in padded frames of any size.
func (g *generator) messages(sender Side, stream uint32, ended bool) {
	var data []byte
	for range g.IntN(4) {
		size := []int{0, g.IntN(10), g.IntN(2000), g.IntN(20_000)}[g.IntN(4)]
		data = binary.BigEndian.AppendUint32(append(data, byte(g.IntN(2))), uint32(size))
		data = append(data, bytes.Repeat([]byte{byte(stream)}, size)...)
	}
	for frames := 1 + g.IntN(5); frames > 0; frames-- {
		n := len(data)
		if frames > 1 {
			n = g.IntN(n + 1)
		}
		var padding []byte
		if g.IntN(2) == 0 {
			padding = make([]byte, g.IntN(256))
		}
		_ = g.framer[sender].WriteDataPadded(stream, ended && frames == 1, data[:n], padding)
		data = data[n:]
	}
	if g.IntN(4) == 0 {
		_ = g.framer[sender].WritePing(false, [8]byte{})
		_ = g.framer[sender].WriteWindowUpdate(stream, 1000)
		_ = g.framer[sender].WriteRawFrame(0xbe, 0xff, stream, []byte("unknown"))
	}
	g.flush(sender)
}

// call writes a call, of which other calls may follow before its end.
func (g *generator) call(stream uint32) (end func()) {
	contentType := []string{"application/grpc", "application/grpc+proto", "text/html"}[g.IntN(3)]
	g.headers(Client, stream, false, ":method", "POST", ":scheme", "http", ":path", fmt.Sprintf("/test.S/M%d", g.IntN(50)),
		"content-type", contentType, "x", strings.Repeat("v", g.IntN(300)), fmt.Sprint("y", g.IntN(100)), "z")
	g.messages(Client, stream, g.IntN(2) == 0)
	return func() {
		switch g.IntN(6) {
		case 0:
			return // it stays open
		case 1:
			sender := Side(g.IntN(2))
			_ = g.framer[sender].WriteRSTStream(stream, http2.ErrCodeCancel)
			g.flush(sender)
			return
		case 2: // Trailers-Only
			g.headers(Server, stream, true, ":status", "200", "content-type", contentType, "grpc-status", "5", "grpc-message", "no%20such")
			return
		}
		if g.IntN(3) == 0 {
			g.headers(Server, stream, false, ":status", "103", "link", "x")
		}
		g.headers(Server, stream, false, ":status", "200", "content-type", contentType, "x", strings.Repeat("w", g.IntN(300)))
		last := g.IntN(4) == 0
		g.messages(Server, stream, last)
		if !last {
			g.headers(Server, stream, true, "grpc-status", fmt.Sprint(g.IntN(20)))
		}
		g.messages(Client, stream, true) // on their way when the call ended
	}
}

func TestGenerated(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			g := newGenerator(seed)
			var ends []func()
			for i := range uint32(60) {
				ends = append(ends, g.call(1+2*i))
				if g.IntN(2) == 0 {
					k := g.IntN(len(ends))
					ends[k]()
					ends = append(ends[:k], ends[k+1:]...)
				}
			}
			for _, end := range ends {
				end()
			}
			compare(t, g.pieces, whole)
			compare(t, g.pieces, func() int { return 1 + g.IntN(7) })
			compare(t, g.pieces, func() int { return 1 + g.IntN(3000) })
		})
	}
}

func FuzzStream(f *testing.F) {
	g := newGenerator(1)
	g.call(1)()
	g.call(3)()
	var client, server []byte
	for _, p := range g.pieces {
		if p.sender == Client {
			client = append(client, p.bytes...)
		} else {
			server = append(server, p.bytes...)
		}
	}
	f.Add(client, server, uint64(0x0123456789abcdef))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n"), uint64(1))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), []byte("\x16\x03\x03"), uint64(0))
	f.Add([]byte(http2.ClientPreface), []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}, uint64(2))
	f.Fuzz(func(t *testing.T, sent, received []byte, order uint64) {
		tracer, events := newTracer(t, 64<<10, Output{Body: 1000, Queue: 64 << 10})
		o := tracer.Session(1)(1, true)
		for len(sent)+len(received) > 0 { // the lengths and order of the pieces come from order
			n := 1 + int(order>>1&15)*int(order>>1&15)
			if order&1 == 0 {
				n = min(n, len(sent))
				o.Sent(sent[:n])
				sent = sent[n:]
			} else {
				n = min(n, len(received))
				o.Received(received[:n])
				received = received[n:]
			}
			order = order<<5 | order>>59
			if n == 0 {
				order ^= 1
			}
		}
		o.End(nil)
		open := map[uint64]bool{}
		for _, e := range events() {
			switch {
			case e.Side == Wstun && e.Type == Other:
				t.Error(e.Message)
			case e.Type == ClientHeader:
				open[e.Call] = true
			case e.Call != 0 && !open[e.Call]:
				t.Errorf("%s of a call that isn't open", e.String())
			case e.IsEnd():
				delete(open, e.Call)
			}
		}
		if len(open) > 0 || tracer.closing[0].queue.used != 0 || tracer.closing[0].queue.reserved != 0 {
			t.Errorf("%d calls are open, %d bytes of the queue are used, %d reserved", len(open), tracer.closing[0].queue.used, tracer.closing[0].queue.reserved)
		}
	})
}
