package ws

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A flood of small frames delays the bytes after it only by the time to read it, and
// holds no memory. The peer reads nothing, so the Pongs don't fit in the socket's buffers.
func TestFrameFloods(t *testing.T) {
	t.Parallel()
	const frames = 50_000
	end := "\x82\x84" + zeroKey + "last"
	for _, test := range []struct {
		name string
		sent string // by the dialing side
		want string
	}{
		{"Pings", strings.Repeat("\x89\xfd"+zeroKey+strings.Repeat("x", 125), frames) + end, "last"},
		{"empty Pings", strings.Repeat("\x89\x80"+zeroKey, frames) + end, "last"},
		{"Pongs", strings.Repeat("\x8a\x81"+zeroKey+"x", frames) + end, "last"},
		{"messages of one byte", strings.Repeat("\x82\x81"+zeroKey+"x", frames) + end, strings.Repeat("x", frames) + "last"},
		{"empty messages", strings.Repeat("\x82\x80"+zeroKey, frames) + end, "last"},
		{"fragments of one byte", "\x02\x80" + zeroKey + strings.Repeat("\x00\x81"+zeroKey+"x", frames) + "\x80\x80" + zeroKey + end, strings.Repeat("x", frames) + "last"},
		{"empty fragments", "\x02\x80" + zeroKey + strings.Repeat("\x00\x80"+zeroKey, frames) + "\x80\x80" + zeroKey + end, "last"},
		{"Pings between fragments", "\x02\x80" + zeroKey + strings.Repeat("\x00\x81"+zeroKey+"x\x89\x80"+zeroKey, frames) + "\x80\x80" + zeroKey + end, strings.Repeat("x", frames) + "last"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			peer, accepted := tunneltest.WebSockets(t)
			c := Take(accepted, Accepting, nil)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = io.WriteString(peer.NetConn(), test.sent)
			}()
			got := make(chan []byte, 1)
			go func() {
				all := make([]byte, len(test.want))
				n, _ := io.ReadFull(c, all)
				got <- all[:n]
			}()
			if all := tunneltest.Await(t, "the last bytes", got); !bytes.Equal(all, []byte(test.want)) {
				t.Errorf("read %d bytes, want %d", len(all), len(test.want))
			}
			tunneltest.Await(t, "the flood's end", sent)
			_ = peer.Close()
			c.CloseWith(websocket.CloseNormalClosure, "")
			tunneltest.Await(t, "the socket's end", c.Done())
		})
	}
}

// The dialing side, which reads through gorilla, survives a flood of Pings, too.
func TestPingFloodFromAcceptingSide(t *testing.T) {
	t.Parallel()
	dialed, peer := tunneltest.WebSockets(t)
	for _, conn := range []*websocket.Conn{dialed, peer} {
		_ = conn.NetConn().(*net.TCPConn).SetWriteBuffer(4096)
	}
	c := Take(dialed, Dialing, nil)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(peer.NetConn(), strings.Repeat("\x89\x7d"+strings.Repeat("x", 125), 50_000)+"\x82\x04last")
	}()
	tunneltest.Expect(t, c, "last")
	tunneltest.Await(t, "the flood's end", sent)
	_ = peer.Close()
	c.CloseWith(websocket.CloseNormalClosure, "")
	tunneltest.Await(t, "the socket's end", c.Done())
}
