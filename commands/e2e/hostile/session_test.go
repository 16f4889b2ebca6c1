//go:build linux

package hostile

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/hashicorp/yamux"
)

// handshake returns the request that opens a WebSocket. Each line of header ends with
// "\r\n".
func handshake(header string) string {
	return "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + header + "\r\n"
}

// The first bytes of WebSocket frames (RFC 6455 §5.2).
const (
	finalBinary = 0x82
	finalPing   = 0x89
	finalPong   = 0x8a
)

// webSocket is a WebSocket as a byte stream. It answers Pings while it is
// read, and ignores other control frames.
type webSocket struct {
	net.Conn
	br     *bufio.Reader
	masked bool // this is the dialing side

	// Of the frame that is being read.
	unread int64   // bytes
	key    [4]byte // masking key
	offset int     // in the payload, modulo 4
}

// dialWebSocket opens a WebSocket to the victim at url.
func (p *peer) dialWebSocket(url string) (*webSocket, error) {
	conn, err := p.dial(url)
	if err != nil {
		return nil, err
	}
	return openWebSocket(conn, "")
}

// openWebSocket opens a WebSocket on conn. Each line of header ends with "\r\n".
func openWebSocket(conn net.Conn, header string) (*webSocket, error) {
	if _, err := io.WriteString(conn, handshake(header)); err != nil {
		return nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: %s", resp.Status)
	}
	return &webSocket{Conn: conn, br: br, masked: true}, nil
}

// acceptWebSocket answers the handshake of the victim on conn.
func acceptWebSocket(conn net.Conn) (*webSocket, error) {
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 §4.2.2
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	return &webSocket{Conn: conn, br: br}, err
}

// appendFrame appends a frame with payload. Its masking key is zero, which leaves the
// payload as it is.
func (c *webSocket) appendFrame(buf []byte, first byte, payload []byte) []byte {
	var mask byte
	if c.masked {
		mask = 0x80
	}
	buf = append(buf, first)
	switch n := len(payload); {
	case n < 126:
		buf = append(buf, mask|byte(n))
	case n < 1<<16:
		buf = binary.BigEndian.AppendUint16(append(buf, mask|126), uint16(n))
	default:
		buf = binary.BigEndian.AppendUint64(append(buf, mask|127), uint64(n))
	}
	if c.masked {
		buf = append(buf, 0, 0, 0, 0)
	}
	return append(buf, payload...)
}

// Write sends b as one message.
func (c *webSocket) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(c.appendFrame(nil, finalBinary, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *webSocket) Read(b []byte) (int, error) {
	for c.unread == 0 {
		if err := c.readHeader(); err != nil {
			return 0, err
		}
	}
	n, err := c.br.Read(b[:min(int64(len(b)), c.unread)])
	for i := range b[:n] {
		b[i] ^= c.key[(c.offset+i)%4]
	}
	c.offset = (c.offset + n) % 4
	c.unread -= int64(n)
	return n, err
}

// readHeader reads the header of a frame, and all of a control frame.
func (c *webSocket) readHeader() error {
	var h [8]byte
	if _, err := io.ReadFull(c.br, h[:2]); err != nil {
		return err
	}
	opcode, isControl, isMasked := h[0], h[0]&0x08 != 0, h[1]&0x80 != 0
	n := int64(h[1] & 0x7f)
	if size := map[int64]int{126: 2, 127: 8}[n]; size > 0 {
		clear(h[:])
		if _, err := io.ReadFull(c.br, h[8-size:]); err != nil {
			return err
		}
		n = int64(binary.BigEndian.Uint64(h[:])) //nolint:gosec // the victim is honest
	}
	if c.offset = 0; isMasked {
		if _, err := io.ReadFull(c.br, c.key[:]); err != nil {
			return err
		}
	}
	if isControl {
		payload := make([]byte, n)
		if _, err := io.ReadFull(c.br, payload); err != nil || opcode != finalPing {
			return err
		}
		for i := range payload {
			payload[i] ^= c.key[i%4]
		}
		_, err := c.Conn.Write(c.appendFrame(nil, finalPong, payload))
		return err
	}
	c.unread = n
	return nil
}

func yamuxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.StreamOpenTimeout = 0
	config.LogOutput = io.Discard
	return config
}
