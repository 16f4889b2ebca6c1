package wsmux_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// soon is the time limit for a call that must not block. It is shorter than
// writeTimeout, which ends any call on a stalled link.
const soon = 20 * time.Second

// side is the kind of connection below a wrapped conn.
type side struct{ accepting, tls bool }

func sides() map[string]side {
	return map[string]side{
		"dialing side":            {},
		"dialing side over TLS":   {tls: true},
		"accepting side":          {accepting: true},
		"accepting side over TLS": {accepting: true, tls: true},
	}
}

func (s side) connect(t *testing.T) (c net.Conn, peer *websocket.Conn) {
	t.Helper()
	pair := tunneltest.WebSockets
	if s.tls {
		pair = tunneltest.TLSWebSockets
	}
	ours, peer := pair(t)
	if s.accepting {
		ours, peer = peer, ours
	}
	c = wsmux.WrapConn(ours)
	t.Cleanup(func() { closeBoth(c, peer) })
	return c, peer
}

// closeBoth closes a wrapped conn and its peer.
func closeBoth(c io.Closer, peer *websocket.Conn) {
	_ = c.Close()
	_ = peer.Close()
}

// await waits for event, and fails the test if it doesn't arrive soon.
func await[T any](t *testing.T, name string, event <-chan T) T {
	t.Helper()
	v, ok := tunneltest.Within(soon, event)
	if !ok {
		t.Fatalf("%s takes longer than %v", name, soon)
	}
	return v
}

// within fails the test if f takes longer than soon.
func within(t *testing.T, name string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	await(t, name, done)
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != want {
		t.Fatalf("read = %q, %v, want %q", buf, err, want)
	}
}

func mustWrite(t *testing.T, w io.Writer, data string) {
	t.Helper()
	if n, err := io.WriteString(w, data); err != nil || n != len(data) {
		t.Fatalf("Write = %d, %v, want %d, nil", n, err, len(data))
	}
}

// flood starts to write zeros to c until Write fails. It returns when peer has read
// the first byte.
func flood(t *testing.T, c, peer net.Conn) <-chan floodResult {
	t.Helper()
	ended := make(chan floodResult, 1)
	go func() {
		sent, err := io.Copy(c, zeros{})
		ended <- floodResult{sent, err}
	}()
	mustRead(t, peer, "\x00")
	return ended
}

// floodResult has the error that ended a flood.
type floodResult struct {
	sent int64
	err  error
}

func send(t *testing.T, ws *websocket.Conn, kind int, data []byte) {
	t.Helper()
	if err := ws.WriteMessage(kind, data); err != nil {
		t.Fatalf("WriteMessage: %v", err)
	}
}

func sendClose(t *testing.T, ws *websocket.Conn, code int, text string) {
	t.Helper()
	msg := websocket.FormatCloseMessage(code, text)
	if err := ws.WriteControl(websocket.CloseMessage, msg, time.Now().Add(soon)); err != nil {
		t.Fatalf("send Close frame %d: %v", code, err)
	}
}

func TestWrapConnCarriesBinaryMessages(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			send(t, peer, websocket.BinaryMessage, nil)
			send(t, peer, websocket.BinaryMessage, []byte("hel"))
			send(t, peer, websocket.BinaryMessage, nil)
			send(t, peer, websocket.BinaryMessage, []byte("lo"))
			mustRead(t, c, "hello")
			mustWrite(t, c, "world")
			kind, data, err := peer.ReadMessage()
			if kind != websocket.BinaryMessage || string(data) != "world" || err != nil {
				t.Errorf("ReadMessage = %d, %q, %v, want a binary message", kind, data, err)
			}
			if n, err := c.Write(nil); n != 0 || err != nil {
				t.Errorf("Write(nil) = %d, %v, want 0, nil", n, err)
			}
			mustWrite(t, c, "!")
			if _, data, err := peer.ReadMessage(); string(data) != "!" || err != nil {
				t.Errorf("ReadMessage after an empty Write = %q, %v, want the next message", data, err)
			}
		})
	}
}

func TestWrapConnRefusesTextMessages(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			send(t, peer, websocket.TextMessage, []byte("hello"))
			if n, err := c.Read(make([]byte, 8)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Read = %d, %v, want an error that is io.ErrUnexpectedEOF", n, err)
			}
			if _, _, err := peer.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseUnsupportedData) {
				t.Errorf("peer's ReadMessage: %v, want status code 1003", err)
			}
		})
	}
}

func TestWrapConnReadDoesNotWaitForTheEndOfAMessage(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			w, err := peer.NextWriter(websocket.BinaryMessage)
			if err != nil {
				t.Fatal(err)
			}
			part := bytes.Repeat([]byte("0123456789abcdef"), 16*1024) // several frames
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
			mustRead(t, c, string(part[:128*1024]))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			mustRead(t, c, string(part[128*1024:]))
		})
	}
}

func TestWrapConnConcurrentWritesNeverInterleave(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			const writers, writes, size = 8, 10, 100_000 // larger than any buffer
			var wg sync.WaitGroup
			for i := range writers {
				wg.Go(func() {
					for range writes {
						if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
							t.Errorf("Write: %v", err)
						}
					}
				})
			}
			other := wsmux.WrapConn(peer)
			defer other.Close()
			block := make([]byte, size)
			for range writers * writes {
				if _, err := io.ReadFull(other, block); err != nil {
					t.Fatal(err)
				}
				if slices.Min(block) != slices.Max(block) {
					t.Fatal("one Write was sent in the middle of another")
				}
			}
			wg.Wait()
		})
	}
}

func TestWrapConnKeepsHandlersAndDeadlines(t *testing.T) {
	t.Parallel()
	t.Run("handlers", func(t *testing.T) {
		t.Parallel()
		ours, peer := tunneltest.WebSockets(t)
		called := make(chan string, 3)
		ours.SetPingHandler(func(data string) error { called <- "ping " + data; return nil })
		ours.SetPongHandler(func(data string) error { called <- "pong " + data; return nil })
		onClose := ours.CloseHandler()
		ours.SetCloseHandler(func(code int, text string) error {
			called <- "close " + text
			return onClose(code, text)
		})
		c := wsmux.WrapConn(ours)
		defer closeBoth(c, peer)
		for _, kind := range []int{websocket.PingMessage, websocket.PongMessage} {
			if err := peer.WriteControl(kind, []byte("1"), time.Now().Add(soon)); err != nil {
				t.Fatal(err)
			}
		}
		sendClose(t, peer, websocket.CloseNormalClosure, "2")
		if _, err := c.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // io.EOF itself is promised
			t.Errorf("Read = %v, want io.EOF", err)
		}
		for _, want := range []string{"ping 1", "pong 1", "close 2"} {
			if got := <-called; got != want {
				t.Errorf("handler called with %q, want %q", got, want)
			}
		}
		if _, _, err := peer.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("peer's ReadMessage: %v, want the answer to its Close frame", err)
		}
	})
	t.Run("read deadline", func(t *testing.T) {
		t.Parallel()
		ours, peer := tunneltest.WebSockets(t)
		_ = ours.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		c := wsmux.WrapConn(ours)
		defer closeBoth(c, peer)
		for range 2000 { // gorilla panics at the 1000th failed read
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Read after the deadline = %v, want os.ErrDeadlineExceeded", err)
			}
		}
	})
	t.Run("read deadline that a handler moves while closing", func(t *testing.T) {
		t.Parallel()
		ours, peer := tunneltest.WebSockets(t)
		pinged, closed := make(chan struct{}), make(chan struct{})
		ours.SetPingHandler(func(string) error {
			close(pinged)
			<-closed
			return ours.SetReadDeadline(time.Now().Add(time.Hour))
		})
		c := wsmux.WrapConn(ours)
		defer closeBoth(c, peer)
		go func() { _, _ = c.Read(make([]byte, 1)) }()
		if err := peer.WriteControl(websocket.PingMessage, nil, time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		<-pinged
		_ = c.Close()
		close(closed)
		_, _, err := peer.ReadMessage() // the Close frame
		if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("peer's ReadMessage: %v, want status code 1000", err)
		}
		_ = peer.SetReadDeadline(time.Now().Add(soon)) // for the end of the socket
		if _, err := peer.NetConn().Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the socket is still open")
		}
	})
}

func TestWrapConnAnswersPings(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			pong := make(chan string, 1)
			peer.SetPongHandler(func(data string) error { pong <- data; return nil })
			go func() { _, _, _ = peer.ReadMessage() }()
			go func() { _, _ = c.Read(make([]byte, 1)) }()
			if err := peer.WriteControl(websocket.PingMessage, []byte("7"), time.Now().Add(soon)); err != nil {
				t.Fatal(err)
			}
			if got := <-pong; got != "7" {
				t.Errorf("the Pong's payload is %q, want the Ping's, 7", got)
			}
		})
	}
}

// A flood of Pings arrives while the socket is full in the other direction, so that no
// Pong can be sent. Reads must still work, and Writes once the peer reads.
func TestWrapConnSurvivesPingsOnAFullSocket(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			other := wsmux.WrapConn(peer)
			defer other.Close()
			ended := flood(t, c, other)
			for i := range 1000 {
				if err := peer.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(soon)); err != nil {
					t.Fatalf("Ping %d: %v", i, err)
				}
			}
			send(t, peer, websocket.BinaryMessage, []byte("still reading"))
			mustRead(t, c, "still reading")
			// gorilla's own handler allows a Pong one second.
			_ = c.SetReadDeadline(time.Now().Add(1200 * time.Millisecond))
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Read = %d, %v, want a timeout", n, err)
			}
			_ = c.SetReadDeadline(time.Time{})
			send(t, peer, websocket.BinaryMessage, []byte("and again"))
			mustRead(t, c, "and again")
			_ = c.SetWriteDeadline(time.Unix(1, 0))
			f := <-ended
			if !errors.Is(f.err, os.ErrDeadlineExceeded) {
				t.Errorf("Write on a full socket: %v, want a timeout", f.err)
			}
			_ = c.SetWriteDeadline(time.Time{})
			if n, err := io.CopyN(io.Discard, other, f.sent-1); err != nil {
				t.Fatalf("CopyN = %d, %v, want the rest of the flood, %d", n, err, f.sent-1)
			}
			mustWrite(t, c, "still writing")
			mustRead(t, other, "still writing")
		})
	}
}

func TestWrapConnAddresses(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	c1, c2 := wsmux.WrapConn(dialed), wsmux.WrapConn(accepted)
	defer c1.Close()
	defer c2.Close()
	if got, want := c1.LocalAddr().String(), c2.RemoteAddr().String(); got != want {
		t.Errorf("LocalAddr() = %s, the peer's RemoteAddr() = %s", got, want)
	}
}
