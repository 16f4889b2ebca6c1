package tunnel

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawFrame is a frame with a payload of the given length.
func rawFrame(kind, flags byte, stream uint32, payload int) []byte {
	header := []byte{
		byte(payload >> 16), byte(payload >> 8), byte(payload), kind, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream),
	}
	return append(header, make([]byte, payload)...)
}

func TestCalls(t *testing.T) {
	t.Parallel()
	type step struct {
		fromClient  bool
		kind, flags byte
		stream      uint32
	}
	const client, server = true, false
	for _, test := range []struct {
		name  string
		steps []step
		open  int
	}{
		{"nothing", nil, 0},
		{"begun", []step{{client, h2Headers, 0, 1}}, 1},
		{"client has ended its side", []step{{client, h2Headers, h2EndStream, 1}}, 1},
		{"ended with trailers", []step{{client, h2Headers, 0, 1}, {client, h2Data, h2EndStream, 1}, {server, h2Headers, 0, 1}, {server, h2Data, 0, 1}, {server, h2Headers, h2EndStream | h2EndHeaders, 1}}, 0},
		{"trailers only", []step{{client, h2Headers, 0, 1}, {server, h2Headers, h2EndStream | h2EndHeaders, 1}}, 0},
		{"ended with data", []step{{client, h2Headers, 0, 1}, {server, h2Data, h2EndStream, 1}}, 0},
		{"reset by the client", []step{{client, h2Headers, 0, 1}, {client, h2RSTStream, 0, 1}}, 0},
		{"reset by the server", []step{{client, h2Headers, 0, 1}, {server, h2RSTStream, 0, 1}}, 0},
		{"client trailers after the end", []step{{client, h2Headers, 0, 1}, {server, h2Headers, h2EndStream | h2EndHeaders, 1}, {client, h2Headers, h2EndStream, 1}}, 0},
		{"one of two", []step{{client, h2Headers, 0, 1}, {client, h2Headers, 0, 3}, {server, h2Headers, h2EndStream | h2EndHeaders, 1}}, 1},
		{"flags of other frames", []step{{client, h2Headers, 0, 1}, {server, 0x6, h2EndStream, 0}, {server, 0x8, h2EndStream, 1}}, 1},
		{"in a header block", []step{{client, h2Headers, 0, 1}, {server, h2Headers, h2EndStream, 1}, {server, h2Continuation, 0, 1}}, 1},
		{"behind a header block", []step{{client, h2Headers, 0, 1}, {server, h2Headers, h2EndStream, 1}, {server, h2Continuation, 0, 1}, {server, h2Continuation, h2EndHeaders, 1}}, 0},
		{"pushed", []step{{server, 0x5, 0, 1}, {server, h2Headers, 0, 2}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCalls()
			directions := map[bool]*frames{client: newFrames(c, true), server: newFrames(c, false)}
			directions[client].follow(append([]byte(h2Preface), rawFrame(h2Settings, 0, 0, 6)...))
			directions[server].follow(rawFrame(h2Settings, 0, 0, 0))
			for i, s := range test.steps {
				directions[s.fromClient].follow(rawFrame(s.kind, s.flags, s.stream|h2ReservedBits, i*100))
			}
			if got := len(c.open); got != test.open || c.opaque {
				t.Errorf("%d open, opaque %v, want %d, false", got, c.opaque, test.open)
			}
		})
	}
}

// A call isn't over, and no other frame may come, before the client has all of
// the last one.
func TestCallsEndWithTheWholeFrame(t *testing.T) {
	t.Parallel()
	c := newCalls()
	newFrames(c, true).follow(append([]byte(h2Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), rawFrame(h2Headers, h2EndStream|h2EndHeaders, 1, 0)...))
	server := newFrames(c, false)
	server.follow(rawFrame(h2Settings, 0, 0, 0))
	last := rawFrame(h2Headers, h2EndStream|h2EndHeaders, 1, 18)
	for i := range last {
		if len(c.open) != 1 || server.between() != (i == 0) {
			t.Errorf("after %d bytes of %d: %d open, between %v", i, len(last), len(c.open), server.between())
		}
		server.follow(last[i : i+1])
	}
	if len(c.open) != 0 || !server.between() {
		t.Errorf("after the last byte: %d open, between %v", len(c.open), server.between())
	}
}

func TestFramesGiveUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		fromClient bool
		bytes      string
		opaque     bool
	}{
		{"nothing", true, "", false},
		{"half a preface", true, h2Preface[:10], false},
		{"HTTP/1.1", true, "GET / HTTP/1.1\r\n", true},
		{"TLS", true, "\x16\x03\x01", true},
		{"other preface", true, h2Preface[:23] + "x", true},
		{"no SETTINGS", true, h2Preface + string(rawFrame(h2Headers, 0, 1, 0)), true},
		{"a server that speaks first", false, "SSH-2.0-OpenSSH_9.9\r\n", true},
		{"SETTINGS", false, string(rawFrame(h2Settings, 0, 0, 6)), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCalls()
			f := newFrames(c, test.fromClient)
			for _, b := range []byte(test.bytes) {
				f.follow([]byte{b})
			}
			if c.opaque != test.opaque {
				t.Errorf("opaque = %v, want %v", c.opaque, test.opaque)
			}
		})
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	c := newCalls()
	f := newFrames(c, true)
	f.follow(append([]byte(h2Preface), rawFrame(h2Settings, 0, 0, 0)...))
	for i := range uint32(maxOpenCalls) {
		f.follow(rawFrame(h2Headers, 0, 2*i+1, 0))
	}
	if len(c.open) != maxOpenCalls || c.opaque {
		t.Fatalf("%d open, opaque %v, want %d, false", len(c.open), c.opaque, maxOpenCalls)
	}
	for i := range uint32(100) {
		f.follow(rawFrame(h2Headers, 0, 2*(maxOpenCalls+i)+1, 0))
	}
	if len(c.open) != 0 || !c.opaque {
		t.Errorf("%d open, opaque %v, want 0, true", len(c.open), c.opaque)
	}
	newFrames(c, false).follow(append(rawFrame(h2Settings, 0, 0, 0), rawFrame(h2Headers, h2EndStream|h2EndHeaders, 1, 0)...))
}

func TestCallsWhenIdle(t *testing.T) {
	t.Parallel()
	c := newCalls()
	told := 0
	c.frame(h2Headers, 0, 1, true)
	c.whenIdle(func() { told++ })
	c.frame(h2Headers, 0, 3, true)
	c.frame(h2Headers, h2EndStream, 1, false)
	if told != 0 {
		t.Error("told while a call was open")
	}
	c.frame(h2Headers, h2EndStream, 3, false)
	c.frame(h2Headers, 0, 5, true)
	c.frame(h2RSTStream, 0, 5, true)
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	c.whenIdle(func() { told++ })
	if told != 2 {
		t.Error("not told at once though nothing is open")
	}
	c.update(c.giveUp)
	c.whenIdle(func() { t.Error("told of a connection that isn't HTTP/2") })
}

// generate writes random frames of a client, as x/net's Framer does.
func generate(t *testing.T, rnd *rand.Rand, fromClient bool) []byte {
	t.Helper()
	var buf, block bytes.Buffer
	framer := http2.NewFramer(&buf, nil)
	framer.AllowIllegalWrites = true
	encoder := hpack.NewEncoder(&block)
	if fromClient {
		buf.WriteString(h2Preface)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	for range 200 {
		stream := uint32(2*rnd.IntN(40) + 1)
		switch rnd.IntN(8) {
		case 0, 1, 2:
			block.Reset()
			check(encoder.WriteField(hpack.HeaderField{Name: "x", Value: string(make([]byte, rnd.IntN(200)))}))
			check(framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: rnd.IntN(2) == 0, PadLength: uint8(rnd.IntN(9)),
			}))
		case 3, 4:
			check(framer.WriteData(stream, rnd.IntN(3) == 0, make([]byte, rnd.IntN(3000))))
		case 5:
			check(framer.WriteRSTStream(stream, http2.ErrCodeCancel))
		case 6:
			check(framer.WritePing(rnd.IntN(2) == 0, [8]byte{1}))
		case 7:
			check(framer.WriteWindowUpdate(stream, 1000))
		}
	}
	return buf.Bytes()
}

// reference counts the open calls of a stream of frames with x/net's Framer.
func reference(t *testing.T, data []byte, fromClient bool, c *calls) {
	t.Helper()
	if fromClient {
		data = data[len(h2Preface):]
	}
	framer := http2.NewFramer(nil, bytes.NewReader(data))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		h := frame.Header()
		ends := false
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			ends = f.StreamEnded()
			if fromClient && h.StreamID > c.last {
				c.last = h.StreamID
				c.open[h.StreamID] = &response{}
			}
		case *http2.DataFrame:
			ends = f.StreamEnded()
		case *http2.RSTStreamFrame:
			delete(c.open, h.StreamID)
		}
		if ends && !fromClient {
			delete(c.open, h.StreamID)
		}
	}
}

func TestFramesAgreeWithFramer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		client, server := generate(t, rnd, true), generate(t, rnd, false)
		want, got := newCalls(), newCalls()
		for _, fromClient := range []bool{true, false} {
			data := client
			if !fromClient {
				data = server
			}
			reference(t, data, fromClient, want)
			f := newFrames(got, fromClient)
			for len(data) > 0 {
				n := min(len(data), 1+rnd.IntN(7))
				f.follow(data[:n])
				data = data[n:]
			}
			if f.have != 0 || f.payload != 0 {
				t.Errorf("seed %d: %d bytes of a header and %d of a payload are left", seed, f.have, f.payload)
			}
			if len(got.open) != len(want.open) || got.last != want.last || got.opaque {
				t.Errorf("seed %d, from the client %v: %d open up to %d, opaque %v, want %d up to %d", seed, fromClient,
					len(got.open), got.last, got.opaque, len(want.open), want.last)
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	request := append([]byte(h2Preface), rawFrame(h2Settings, 0, 0, 6)...)
	request = append(request, rawFrame(h2Headers, 4, 1, 20)...)
	answer := append(rawFrame(h2Settings, 0, 0, 6), rawFrame(h2Headers, 5, 1, 20)...)
	f.Add(request, answer, byte(1))
	f.Add(request[:40], []byte("HTTP/1.1 200 OK\r\n\r\n"), byte(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), answer, byte(3))
	f.Add([]byte(h2Preface), []byte{0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0}, byte(2))
	f.Fuzz(func(t *testing.T, client, server []byte, size byte) {
		whole, pieces := newCalls(), newCalls()
		for _, direction := range []struct {
			fromClient bool
			data       []byte
		}{{true, client}, {false, server}} {
			newFrames(whole, direction.fromClient).follow(direction.data)
			f := newFrames(pieces, direction.fromClient)
			for data := direction.data; len(data) > 0; {
				n := min(len(data), int(size%7)+1)
				f.follow(data[:n])
				data = data[n:]
			}
		}
		if len(whole.open) != len(pieces.open) || whole.opaque != pieces.opaque || whole.last != pieces.last {
			t.Errorf("whole: %d, %v, %d; in pieces: %d, %v, %d", len(whole.open), whole.opaque, whole.last, len(pieces.open), pieces.opaque, pieces.last)
		}
	})
}
