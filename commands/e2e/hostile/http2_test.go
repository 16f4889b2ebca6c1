//go:build linux && !race

package hostile

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	initialWindow = 65535 // RFC 9113 §6.9.2
	maxFrame      = 16384 // RFC 9113 §6.5.2
)

// headerBlock returns a header block of names and values. It leaves the peer's HPACK
// table as it is, so a block can be sent any number of times.
func headerBlock(fields ...string) []byte {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true})
	}
	return block.Bytes()
}

// request returns the header block of a call of method, with more fields.
func request(method string, more ...string) []byte {
	return headerBlock(append([]string{
		":method", "POST", ":scheme", "http", ":path", method, ":authority", "localhost",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)...)
}

// appendFrame appends an HTTP/2 frame.
func appendFrame(buf []byte, kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) []byte {
	n := len(payload)
	buf = append(buf, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags))
	return append(binary.BigEndian.AppendUint32(buf, stream), payload...)
}

// appendHeaders appends block in a HEADERS frame and as many CONTINUATION frames as it
// takes. The last has last as flags, the first has first.
func appendHeaders(buf []byte, stream uint32, block []byte, first, last http2.Flags) []byte {
	kind, flags := http2.FrameHeaders, first
	for {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= last
		}
		buf = appendFrame(buf, kind, flags, stream, block[:n])
		if block = block[n:]; len(block) == 0 {
			return buf
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// http2Conn is an attacker's HTTP/2 connection. It reads all frames and sends data as the
// peer's windows allow.
type http2Conn struct {
	net.Conn
	closed chan struct{} // closed when nothing can be read any more

	// onCall, if set, is called when the peer begins a call.
	onCall func(stream uint32, method string)

	mu      sync.Mutex
	changed *sync.Cond // a window has grown, or the connection is closed
	ended   bool
	initial int64            // the window of a new stream
	window  int64            // of the connection
	windows map[uint32]int64 // of streams that data was sent on
}

// newHTTP2Client starts an HTTP/2 connection on conn with the given settings.
func newHTTP2Client(conn net.Conn, settings ...http2.Setting) (*http2Conn, error) {
	return newHTTP2Conn(conn, http2.ClientPreface, nil, settings)
}

// newHTTP2Server is newHTTP2Client at the other end.
func newHTTP2Server(conn net.Conn, onCall func(c *http2Conn, stream uint32, method string)) (*http2Conn, error) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, err
	}
	return newHTTP2Conn(conn, "", onCall, nil)
}

func newHTTP2Conn(conn net.Conn, preface string, onCall func(*http2Conn, uint32, string), settings []http2.Setting) (*http2Conn, error) {
	c := &http2Conn{Conn: conn, closed: make(chan struct{}), initial: initialWindow, window: initialWindow, windows: map[uint32]int64{}}
	c.changed = sync.NewCond(&c.mu)
	if onCall != nil {
		c.onCall = func(stream uint32, method string) { onCall(c, stream, method) }
	}
	first := bytes.NewBufferString(preface)
	fr := http2.NewFramer(first, nil)
	_ = fr.WriteSettings(settings...)
	_ = fr.WriteSettingsAck()
	if _, err := conn.Write(first.Bytes()); err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

// read reads frames until the connection ends.
func (c *http2Conn) read() {
	defer close(c.closed)
	fr := http2.NewFramer(io.Discard, c.Conn)
	fr.SetMaxReadFrameSize(1<<24 - 1)
	fr.SetReuseFrames()
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil) // the default table size (RFC 9113 §6.5.2)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			c.mu.Lock()
			c.ended = true
			c.mu.Unlock()
			c.changed.Broadcast()
			return
		}
		c.count(f)
		if h, ok := f.(*http2.MetaHeadersFrame); ok && c.onCall != nil {
			c.onCall(h.StreamID, h.PseudoValue("path"))
		}
	}
}

// count updates the windows.
func (c *http2Conn) count(f http2.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := f.(type) {
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else {
			c.windows[f.StreamID] = c.streamWindow(f.StreamID) + int64(f.Increment)
		}
	case *http2.SettingsFrame:
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for id := range c.windows {
				c.windows[id] += int64(v) - c.initial
			}
			c.initial = int64(v)
		}
	case *http2.RSTStreamFrame:
		c.windows[f.StreamID] = 1 << 40 // further data is ignored
	}
	c.changed.Broadcast()
}

// streamWindow must be called with mu held.
func (c *http2Conn) streamWindow(stream uint32) int64 {
	if w, ok := c.windows[stream]; ok {
		return w
	}
	return c.initial
}

// send sends data as far as the windows allow, and waits for them to grow.
func (c *http2Conn) send(stream uint32, data []byte) error {
	for len(data) > 0 {
		n := c.reserve(stream, min(len(data), maxFrame))
		if n == 0 {
			return io.ErrClosedPipe
		}
		if _, err := c.Write(appendFrame(nil, http2.FrameData, 0, stream, data[:n])); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// reserve waits for a window and takes at most n bytes of it. It returns 0 when the
// connection has ended.
func (c *http2Conn) reserve(stream uint32, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended && min(c.window, c.streamWindow(stream)) <= 0 {
		c.changed.Wait()
	}
	if c.ended {
		return 0
	}
	taken := min(int64(n), c.window, c.streamWindow(stream))
	c.window -= taken
	c.windows[stream] = c.streamWindow(stream) - taken
	return int(taken)
}
