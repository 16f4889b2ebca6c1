package wsmux

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// chunkConn is a connection on which chunks of data arrive.
type chunkConn struct {
	net.Conn
	data []byte
	size int
}

func (c *chunkConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

// throughConn returns the bytes that a responseConn returns for data that arrives in
// chunks, and the GOAWAY that it records.
func throughConn(tb testing.TB, data []byte, chunk, buffer int) (out []byte, goAway string) {
	tb.Helper()
	var last atomic.Pointer[string]
	c := newResponseConn(&chunkConn{data: data, size: chunk}, &last)
	for p := make([]byte, buffer); ; {
		n, err := c.Read(p)
		out = append(out, p[:n]...)
		if err == io.EOF { //nolint:errorlint // io.Reader's contract
			break
		}
		if n == 0 || err != nil {
			tb.Fatalf("Read = %d, %v", n, err)
		}
	}
	if text := last.Load(); text != nil {
		goAway = *text
	}
	return out, goAway
}

// block encodes header fields, given as name, value, name, value.
func block(e *hpack.Encoder, b *bytes.Buffer, kv ...string) []byte {
	b.Reset()
	for pair := range slices.Chunk(kv, 2) {
		_ = e.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]})
	}
	return b.Bytes()
}

// oddBytes returns a connection with unusual responses, whose header blocks use the
// dynamic table, have padding, and continue in other frames.
func oddBytes() []byte {
	var out, b bytes.Buffer
	f := http2.NewFramer(&out, nil)
	e := hpack.NewEncoder(&b)
	_ = f.WriteSettings()
	for stream := uint32(1); stream < 6; stream += 2 {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, PadLength: 9, BlockFragment: block(e, &b, ":status", "200")})
		_ = f.WriteDataPadded(stream, false, []byte("\x00\x00\x00\x00\x00"), []byte{0, 0})
		last := block(e, &b, "grpc-status", "5", "grpc-message", "outer", detailsKey, "AAAA")
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndStream: true, BlockFragment: last[:1]})
		_ = f.WriteContinuation(stream, true, last[1:])
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, EndHeaders: true, BlockFragment: block(e, &b, ":status", "503", "content-type", "application/grpc")})
	_ = f.WriteData(7, true, []byte("gone"))
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, EndHeaders: true, BlockFragment: block(e, &b, ":status", "103")})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, EndHeaders: true, BlockFragment: block(e, &b, ":status", "200", "content-type", "application/grpc")})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, EndHeaders: true, EndStream: true, BlockFragment: block(e, &b, "grpc-status", "0")})
	_ = f.WriteGoAway(9, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
	return out.Bytes()
}

// The result doesn't depend on how the bytes arrive, and is valid HTTP/2.
func TestResponseConnChunks(t *testing.T) {
	t.Parallel()
	data := oddBytes()
	whole, goAway := throughConn(t, bytes.Clone(data), len(data), 1<<16)
	if want := `GOAWAY ENHANCE_YOUR_CALM: "too_many_pings"`; goAway != want {
		t.Errorf("recorded %s, want %s", goAway, want)
	}
	for chunk := 1; chunk < 40; chunk++ {
		for _, buffer := range []int{1, 10, 1 << 16} {
			if got, _ := throughConn(t, bytes.Clone(data), chunk, buffer); !bytes.Equal(got, whole) {
				t.Fatalf("chunks of %d bytes, buffer of %d:\n%q\nwant\n%q", chunk, buffer, got, whole)
			}
		}
	}
	f := http2.NewFramer(io.Discard, bytes.NewReader(whole))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var got []string
	for {
		frame, err := f.ReadFrame()
		if err == io.EOF { //nolint:errorlint // io.Reader's contract
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		var names []string
		for _, field := range h.Fields {
			names = append(names, field.Name)
		}
		if h.StreamEnded() {
			names = append(names, "end")
		}
		got = append(got, strings.Join(names, " "))
	}
	odd := []string{":status content-type", "grpc-status grpc-message " + detailsKey + " " + detailsKey + " end"}
	want := slices.Concat(odd, odd, odd, []string{":status content-type", "grpc-status grpc-message end", ":status", ":status content-type", "grpc-status end"})
	if !slices.Equal(got, want) {
		t.Errorf("header blocks\n%q\nwant\n%q", got, want)
	}
}

// Other bytes pass unchanged.
func TestResponseConnPassesOtherBytes(t *testing.T) {
	t.Parallel()
	var usual, b bytes.Buffer
	f := http2.NewFramer(&usual, nil)
	e := hpack.NewEncoder(&b)
	_ = f.WriteSettings()
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: block(e, &b, ":status", "200", "content-type", "application/grpc+json")})
	_ = f.WriteData(1, false, make([]byte, 16384))
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: block(e, &b, "grpc-status", "5")})
	_ = f.WritePing(false, [8]byte{})
	for name, data := range map[string][]byte{
		"usual":           usual.Bytes(),
		"cut":             usual.Bytes()[:20],
		"HTTP/1.1":        []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"TLS alert":       []byte("\x15\x03\x01\x00\x02\x02\x46"),
		"too long":        append([]byte("\x00\x40\x01\x01\x04\x00\x00\x00\x01"), make([]byte, 16385)...),
		"malformed HPACK": []byte("\x00\x00\x01\x01\x05\x00\x00\x00\x01\x80\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
	} {
		for _, chunk := range []int{1, 9, 1 << 15} {
			if got, _ := throughConn(t, bytes.Clone(data), chunk, 1<<15); !bytes.Equal(got, data) {
				t.Errorf("%s in chunks of %d bytes: %q, want %q", name, chunk, got, data)
			}
		}
	}
}

// FuzzResponseConn expects a result that doesn't depend on how the bytes arrive, and loses
// none.
func FuzzResponseConn(f *testing.F) {
	f.Add(oddBytes(), 7)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		whole, _ := throughConn(t, bytes.Clone(data), max(1, len(data)), len(data)+1)
		if got, _ := throughConn(t, bytes.Clone(data), max(1, chunk%100), 100); !bytes.Equal(got, whole) {
			t.Errorf("in chunks: %q\nat once: %q", got, whole)
		}
		if len(whole) < len(data) {
			t.Errorf("%d of %d bytes", len(whole), len(data))
		}
	})
}
