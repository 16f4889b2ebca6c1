package wsmux_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestWrapConnReadEndsWithThePeersStatusCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code   int
		normal bool
	}{
		{websocket.CloseNormalClosure, true},
		{websocket.CloseGoingAway, true},
		{websocket.CloseProtocolError, false},
		{websocket.CloseNoStatusReceived, false},
		{websocket.CloseMessageTooBig, false},
		{websocket.CloseInternalServerErr, false},
		{4000, false},
	} {
		t.Run(fmt.Sprint(tc.code), func(t *testing.T) {
			t.Parallel()
			ours, peer := tunneltest.WebSockets(t)
			c := wsmux.WrapConn(ours)
			defer closeBoth(c, peer)
			send(t, peer, websocket.BinaryMessage, []byte("last"))
			sendClose(t, peer, tc.code, "")
			mustRead(t, c, "last")
			_, err := c.Read(make([]byte, 1))
			if tc.normal {
				if err != io.EOF { //nolint:errorlint // io.EOF itself is promised
					t.Errorf("Read = %v, want io.EOF", err)
				}
				return
			}
			ce, ok := errors.AsType[*websocket.CloseError](err)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !ok || ce.Code != tc.code {
				t.Errorf("Read = %v, want io.ErrUnexpectedEOF with status code %d", err, tc.code)
			}
		})
	}
}

func TestWrapConnReadEndsAbnormallyWithoutACloseFrame(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(peer *websocket.Conn)
	}{
		{"end of the connection", func(peer *websocket.Conn) { _ = peer.Close() }},
		{"reset", func(peer *websocket.Conn) {
			_ = peer.NetConn().(*net.TCPConn).SetLinger(0)
			_ = peer.Close()
		}},
		{"end inside a frame", func(peer *websocket.Conn) {
			_, _ = peer.NetConn().Write([]byte{0x82, 0x10, 'x'}) // wants 16 bytes
			_ = peer.Close()
		}},
		{"end inside a header", func(peer *websocket.Conn) {
			_, _ = peer.NetConn().Write([]byte{0x82})
			_ = peer.Close()
		}},
		{"reserved opcode", func(peer *websocket.Conn) { _, _ = peer.NetConn().Write([]byte{0x8b, 0}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ours, peer := tunneltest.WebSockets(t)
			c := wsmux.WrapConn(ours)
			defer closeBoth(c, peer)
			tc.end(peer)
			_, err := io.ReadAll(c)
			ce, ok := errors.AsType[*websocket.CloseError](err)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !ok || ce.Code != websocket.CloseAbnormalClosure {
				t.Errorf("ReadAll: %v (%T), want io.ErrUnexpectedEOF with status code 1006", err, err)
			}
		})
	}
}

func TestWrapConnCloseUnblocksReadAndWrite(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			readErr := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				readErr <- err
			}()
			other := wsmux.WrapConn(peer)
			defer other.Close()
			ended := flood(t, c, other)
			within(t, "Close", func() {
				for range 3 {
					if err := c.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
			})
			if err := <-readErr; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read during Close = %v, want net.ErrClosed", err)
			}
			if err := (<-ended).err; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write during Close = %v, want net.ErrClosed", err)
			}
			if _, err := c.Read(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Close = %v, want net.ErrClosed", err)
			}
			if _, err := c.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after Close = %v, want net.ErrClosed", err)
			}
			_ = peer.Close()
		})
	}
}

func TestWrapConnCloseSendsACloseFrameAfterTheLastData(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			// These bytes stay unread in the closing side's socket. If Close simply
			// closed the socket, the kernel would send an RST.
			send(t, peer, websocket.BinaryMessage, make([]byte, 100_000))
			last := make([]byte, 60_000)
			_, _ = rand.Read(last)
			if _, err := c.Write(last); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			send(t, peer, websocket.BinaryMessage, make([]byte, 10_000)) // arrives during Close
			var got []byte
			for {
				_, data, err := peer.ReadMessage()
				got = append(got, data...)
				if err != nil {
					if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
						t.Errorf("ReadMessage: %v, want status code 1000", err)
					}
					break
				}
			}
			if !bytes.Equal(got, last) {
				t.Errorf("the last data arrived as %d bytes, want %d equal ones", len(got), len(last))
			}
		})
	}
}

func TestWrapConnErrorsAreFinal(t *testing.T) {
	t.Parallel()
	ours, peer := tunneltest.WebSockets(t)
	c := wsmux.WrapConn(ours)
	defer closeBoth(c, peer)
	_ = peer.Close()
	for range 2000 { // gorilla panics at the 1000th failed read
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("Read = %v, want io.ErrUnexpectedEOF", err)
		}
	}
	within(t, "Write", func() {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	})
}
