package ws

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// zeroKey is a masking key that doesn't change the payload.
const zeroKey = "\x00\x00\x00\x00"

// A frame that violates RFC 6455 ends the connection with status code 1002. Take on the
// dialing side, and Share, read through gorilla, which doesn't check everything.
func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		frame  string // masked, to the accepting side
		reason string
	}{
		{"reserved bit", "\xc2\x80" + zeroKey, "reserved bits are set"},
		{"unknown opcode", "\x83\x80" + zeroKey, "unknown opcode"},
		{"unknown control frame", "\x8b\x80" + zeroKey, "unknown opcode"},
		{"not masked", "\x82\x01x", "not masked"},
		{"continuation of no message", "\x80\x81" + zeroKey + "x", "continuation of no message"},
		{"message within a message", "\x02\x80" + zeroKey + "\x82\x81" + zeroKey + "x", "a message within a message"},
		{"fragmented Ping", "\x09\x80" + zeroKey, "a control frame that is fragmented or too long"},
		{"long Ping", "\x89\xfe\x00\x7e" + zeroKey, "a control frame that is fragmented or too long"},
		{"negative length", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + zeroKey, "too long a frame"},
		{"0 in 16 bits", "\x82\xfe\x00\x00" + zeroKey, "a payload length in more bytes than it needs"},
		{"125 in 16 bits", "\x82\xfe\x00\x7d" + zeroKey, "a payload length in more bytes than it needs"},
		{"125 in 64 bits", "\x82\xff\x00\x00\x00\x00\x00\x00\x00\x7d" + zeroKey, "a payload length in more bytes than it needs"},
		{"65535 in 64 bits", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff" + zeroKey, "a payload length in more bytes than it needs"},
		{"Close of one byte", "\x88\x81" + zeroKey + "\x03", "a Close frame of one byte"},
		{"Close with 1005", "\x88\x82" + zeroKey + "\x03\xed", "a Close frame with a wrong status code or reason"},
		{"Close with 999", "\x88\x82" + zeroKey + "\x03\xe7", "a Close frame with a wrong status code or reason"},
		{"Close with 65535", "\x88\x82" + zeroKey + "\xff\xff", "a Close frame with a wrong status code or reason"},
		{"Close without UTF-8", "\x88\x83" + zeroKey + "\x03\xe8\xff", "a Close frame with a wrong status code or reason"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			peer, accepted := tunneltest.WebSockets(t)
			c := Take(accepted, Accepting, nil)
			tunneltest.Write(t, peer.NetConn(), test.frame)
			_ = peer.NetConn().(*net.TCPConn).CloseWrite()
			_, err := c.Read(make([]byte, 1))
			if want := "websocket: " + test.reason; !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != want {
				t.Errorf("Read = %v, want %s", err, want)
			}
			c.CloseWith(websocket.CloseNormalClosure, "") // ends the peer's Read also without an error above
			_, _, err = peer.ReadMessage()
			if ce, ok := errors.AsType[*websocket.CloseError](err); !ok || ce.Code != websocket.CloseProtocolError || ce.Text != test.reason {
				t.Errorf("the peer reads %v, want status code 1002, %s", err, test.reason)
			}
			_ = peer.Close()
			<-c.Done()
		})
	}
}

// The shortest payloads for each size of the length are accepted.
func TestFrameLengths(t *testing.T) {
	t.Parallel()
	for header, n := range map[string]int{
		"\x82\x81":         1,
		"\x82\xfd":         125,
		"\x82\xfe\x00\x7e": 126,
		"\x82\xfe\xff\xff": 1<<16 - 1,
		"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00": 1 << 16,
	} {
		peer, accepted := tunneltest.WebSockets(t)
		c := Take(accepted, Accepting, nil)
		want := strings.Repeat("x", n)
		tunneltest.Write(t, peer.NetConn(), header+zeroKey+want)
		tunneltest.Expect(t, c, want)
		_ = peer.Close()
		c.CloseWith(websocket.CloseNormalClosure, "")
		<-c.Done()
	}
}
