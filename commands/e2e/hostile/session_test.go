//go:build linux && !race

package hostile

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// dialSession opens a session to the victim at url.
func (p *peer) dialSession(url string, role wsmux.Role) (*wsmux.Session, error) {
	dialer := websocket.Dialer{NetDialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return p.dial(addr) }}
	conn, resp, err := dialer.Dial(url, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return wsmux.NewSession(conn, wsmux.Dialing, role, nil)
}

// handshake returns the request that opens a WebSocket. Each line of header ends with
// "\r\n".
func handshake(header string) string {
	return "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + header + "\r\n"
}

// dialWebSocket opens a WebSocket to the victim at url. Nothing is read from it.
func (p *peer) dialWebSocket(url string) (webSocket, error) {
	conn, err := p.dial(url)
	if err != nil {
		return webSocket{}, err
	}
	return openWebSocket(conn, "")
}

// openWebSocket opens a WebSocket on conn. Each line of header ends with "\r\n".
func openWebSocket(conn net.Conn, header string) (webSocket, error) {
	if _, err := io.WriteString(conn, handshake(header)); err != nil {
		return webSocket{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return webSocket{}, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return webSocket{}, fmt.Errorf("handshake: %s", resp.Status)
	}
	return webSocket{conn}, nil
}

// webSocket is the dialing side of a WebSocket.
type webSocket struct{ net.Conn }

// Write sends b as one message.
func (c webSocket) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(webSocketFrame(finalBinary, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// The first bytes of WebSocket frames (RFC 6455 §5.2).
const (
	continued   = 0x00
	firstBinary = 0x02
	finalBinary = 0x82
	finalPing   = 0x89
)

// webSocketFrame returns a frame. Its masking key is zero, which leaves the payload as it
// is.
func webSocketFrame(first byte, payload []byte) []byte {
	const masked = 0x80
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}
