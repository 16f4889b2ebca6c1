package wsmux_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/ws"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// memConn is a connection to a peer that has already sent everything. Read returns
// those bytes and then io.EOF, and Write discards. Neither blocks.
type memConn struct {
	mu     sync.Mutex
	in     bytes.Buffer
	later  []byte // to be read after the response to the handshake
	closed bool
}

func (c *memConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.in.Read(p)
}

// Write responds to a WebSocket handshake.
func (c *memConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.later == nil {
		return len(p), nil
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(p)))
	if err != nil {
		return 0, err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	c.in.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
	c.in.Write(c.later)
	c.later = nil
	return len(p), nil
}

func (c *memConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// hijacker is an http.ResponseWriter with Hijack.
type hijacker struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// received returns a WebSocket whose peer has sent the given bytes after the handshake.
// For the accepting side, their frames must be masked.
func received(tb testing.TB, accepting bool, sent []byte) *websocket.Conn {
	tb.Helper()
	var ws *websocket.Conn
	var err error
	if accepting {
		req := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/", nil)
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
		}
		conn := &memConn{}
		ws, err = new(websocket.Upgrader).Upgrade(hijacker{httptest.NewRecorder(), conn}, req, nil)
		conn.in.Write(sent)
	} else {
		dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
			return &memConn{later: append([]byte{}, sent...)}, nil
		}}
		ws, _, err = dialer.DialContext(tb.Context(), "ws://peer/", nil) //nolint:bodyclose // nothing is left of it
	}
	if err != nil {
		tb.Fatal(err)
	}
	return ws
}

const (
	opContinuation = 0
	opFinal        = 0x80
)

// appendFrame appends a frame (RFC 6455 §5.2).
func appendFrame(b []byte, op byte, masked bool, payload []byte) []byte {
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, op, bit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, op, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, op, bit|127), uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{1, 2, 4, 8}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// split returns frames that carry data. Each byte of plan determines one frame: a whole
// message, a fragment, an empty frame, or a control frame. A Close frame ends them.
func split(data, plan []byte, masked bool) []byte {
	var out []byte
	op := byte(websocket.BinaryMessage) // or a continuation inside a message
	for _, step := range plan {
		size := min(len(data), int(step>>3)*int(step>>3))
		switch step & 7 {
		case 0:
			out = appendFrame(out, opFinal|websocket.PingMessage, masked, []byte{step})
		case 1:
			out = appendFrame(out, opFinal|websocket.PongMessage, masked, nil)
		case 2: // an empty frame, which ends the message
			out = appendFrame(out, opFinal|op, masked, nil)
			op = websocket.BinaryMessage
		case 3: // an empty fragment
			out = appendFrame(out, op, masked, nil)
			op = opContinuation
		case 4, 5: // the last or only frame of a message
			out = appendFrame(out, opFinal|op, masked, data[:size])
			data = data[size:]
			op = websocket.BinaryMessage
		default: // a fragment
			out = appendFrame(out, op, masked, data[:size])
			data = data[size:]
			op = opContinuation
		}
	}
	out = appendFrame(out, opFinal|op, masked, data)
	return appendFrame(out, opFinal|websocket.CloseMessage, masked, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("hello"), []byte{})
	f.Add([]byte("hello, world"), []byte{0, 1, 2, 3, 12, 15, 14, 2, 0})
	f.Add(bytes.Repeat([]byte("0123456789"), 1000), []byte{0xff, 0xfc, 0xf8, 0xfe, 0x80, 0x85})
	f.Fuzz(func(t *testing.T, data, plan []byte) {
		for _, accepting := range []bool{false, true} {
			c := wsmux.WrapConn(received(t, accepting, split(data, plan, accepting)))
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("accepting %v: ReadAll = %q, %v, want %q", accepting, got, err, data)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

// stricter are errors of ws.Take for frames that gorilla accepts.
var stricter = []string{"websocket: a Close frame of one byte", "websocket: a payload length in more bytes than it needs"}

// FuzzFrames compares gorilla's reader with that of ws.Take on the accepting side: both
// must read the same bytes, up to a frame that only ws.Take refuses.
func FuzzFrames(f *testing.F) {
	masked := func(op byte, payload string) []byte { return appendFrame(nil, op, true, []byte(payload)) }
	for _, b := range [][]byte{
		split([]byte("hello, world"), []byte{0, 1, 2, 3, 12, 15, 14, 2, 0}, true),
		split(bytes.Repeat([]byte("0123456789"), 7000), []byte{0xff, 0xfc, 0xf8, 0xfe, 0x80, 0x85}, true),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, []byte("not masked")),
		masked(opFinal|websocket.TextMessage, "text"),
		masked(opFinal|opContinuation, "of nothing"),
		append(masked(websocket.BinaryMessage, "one"), masked(opFinal|websocket.BinaryMessage, "two")...),
		masked(0x40|opFinal|websocket.BinaryMessage, "reserved bit"),
		masked(opFinal|3, "unknown opcode"),
		masked(opFinal|11, "unknown control frame"),
		masked(websocket.PingMessage, "fragmented"),
		masked(opFinal|websocket.PingMessage, strings.Repeat("x", 126)),
		masked(opFinal|websocket.CloseMessage, ""),
		masked(opFinal|websocket.CloseMessage, "\x03"),
		masked(opFinal|websocket.CloseMessage, "\x03\xed"),
		masked(opFinal|websocket.CloseMessage, "\x0f\xa0\xff"),
		masked(opFinal|websocket.CloseMessage, "\x0f\xa0reason"),
		{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
		{0x82, 0x85, 1, 2, 3, 4, 'c'},
		{0x82, 0xfe, 0, 1, 0, 0, 0, 0, 'c'},
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		want, wantErr := readFrames(ws.Share(received(t, true, sent), nil))
		got, err := readFrames(ws.Take(received(t, true, sent), ws.Accepting, nil))
		if err != nil && slices.Contains(stricter, err.Error()) && bytes.HasPrefix(want, got) {
			return
		}
		if !bytes.Equal(got, want) {
			t.Errorf("read %q, %v, gorilla %q, %v", got, err, want, wantErr)
		}
		end, _ := errors.AsType[*websocket.CloseError](err)
		wantEnd, _ := errors.AsType[*websocket.CloseError](wantErr)
		if (end == nil) != (wantEnd == nil) || end != nil && (end.Code != wantEnd.Code || end.Code != websocket.CloseAbnormalClosure && end.Text != wantEnd.Text) {
			t.Errorf("the end is %v, gorilla's %v", err, wantErr)
		}
	})
}

// readFrames reads c to its end and closes it.
func readFrames(c *ws.Conn) ([]byte, error) {
	got, err := io.ReadAll(c)
	c.CloseWith(websocket.CloseNormalClosure, "")
	<-c.Done()
	return got, err
}

// sideOf returns the side of a WebSocket that received returns.
func sideOf(accepting bool) wsmux.Side {
	if accepting {
		return wsmux.Accepting
	}
	return wsmux.Dialing
}

func FuzzGarbage(f *testing.F) {
	header := func(kind byte, flags uint16, stream, length uint32) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, stream), length)
	}
	open := header(1, 1, 1, 0)
	for _, b := range [][]byte{
		{},
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		{0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x'},
		appendFrame(nil, opFinal|websocket.TextMessage, false, []byte("text")),
		appendFrame(nil, opFinal|websocket.CloseMessage, false, []byte{3}),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, open),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, append(open, header(0, 0, 1, 1<<31)...)),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, append(open, open...)),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, append(open, header(1, 15, 1, 1)...)),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, header(2, 1, 0, 7)),
		appendFrame(nil, opFinal|websocket.BinaryMessage, false, header(3, 0, 0, 9)),
	} {
		f.Add(b, false, false)
		f.Add(b, true, true)
	}
	f.Fuzz(func(t *testing.T, sent []byte, accepting, framed bool) {
		if framed { // so that the bytes reach yamux
			sent = appendFrame(nil, opFinal|websocket.BinaryMessage, accepting, sent)
		}
		c := wsmux.WrapConn(received(t, accepting, sent))
		n, _ := io.Copy(io.Discard, c)
		if n > int64(len(sent)) {
			t.Errorf("read %d bytes, only %d were sent", n, len(sent))
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("Read at the end = nil error")
		}
		_ = c.Close()

		for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
			s, err := wsmux.NewSession(received(t, accepting, sent), sideOf(accepting), role, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				stream, err := s.Accept()
				if err != nil {
					break
				}
				if n, _ := io.Copy(io.Discard, stream); n > int64(len(sent)) {
					t.Errorf("read %d bytes from a stream, only %d were sent", n, len(sent))
				}
				_ = stream.Close()
			}
			<-s.Done()
			if err := s.Err(); err == nil || errors.Is(err, net.ErrClosed) {
				t.Errorf("Err() = %v, want an error caused by the peer", err)
			}
			_ = s.Close()
		}
	})
}
