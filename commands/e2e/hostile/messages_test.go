//go:build linux

package hostile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"sync"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

// heldMessages is the live heap in MiB that the messages of a session may need, and
// heldByAll that of all sessions.
const (
	heldMessages = 256 + 64
	heldByAll    = 1024 + 128
)

// noWindow is the setting of a client that accepts no data.
var noWindow = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}

var messageAttacks = []attack{
	{name: "messages that inflate", target: hub, sessions: 1, held: heldMessages, run: echoBombs},
	{name: "messages that inflate in the proxy", target: proxy, sessions: 1, held: heldMessages, run: echoBombs},
	{name: "responses to a client without window", target: hub, sessions: 1, held: heldMessages, run: templates},
	{name: "responses to a client of the proxy without window", target: proxy, sessions: 1, held: heldMessages, run: templates},
}

// bomb is a compressed message of 63 MiB, with gRPC's prefix. It fits into a stream's
// first window.
var bomb = sync.OnceValue(func() []byte {
	const text = 63 * mib
	var message bytes.Buffer
	message.Write(make([]byte, 5))
	zw, _ := gzip.NewWriterLevel(&message, gzip.BestCompression)
	_, _ = zw.Write(binary.AppendUvarint([]byte{1<<3 | 2}, text)) // EchoRequest.text, CreateKeyRequest.name
	_, _ = zw.Write(bytes.Repeat([]byte("a"), text))
	_ = zw.Close()
	b := message.Bytes()
	b[0] = 1 // compressed
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
	return b
})

// echoBombs makes 24 calls and has no window for the responses. gRPC buffers the response
// to the first bomb of each call, compressed. That to the second must wait, with its
// request.
func echoBombs(a *attacker) error {
	c, err := a.openHTTP2(0, noWindow)
	if err != nil {
		return err
	}
	block := request(demo.Hub_Echo_FullMethodName, "grpc-encoding", "gzip")
	const calls = 24
	for i := range uint32(2 * calls) {
		stream := 1 + 2*(i%calls)
		if i < calls {
			if _, err := c.Write(appendHeaders(nil, stream, block, 0, http2.FlagHeadersEndHeaders)); err != nil {
				return err
			}
		}
		if err := c.send(stream, bomb()); err != nil {
			return err
		}
	}
	return nil
}

// templates makes 300 calls with a response of 5 MiB each and has no window for them.
func templates(a *attacker) error {
	c, err := a.openHTTP2(0, noWindow)
	if err != nil {
		return err
	}
	block, empty := request(demo.Hub_GetTemplates_FullMethodName), make([]byte, 5)
	for i := range uint32(300) {
		stream := 1 + 2*i
		call := appendHeaders(nil, stream, block, 0, http2.FlagHeadersEndHeaders)
		if _, err := c.Write(appendFrame(call, http2.FrameData, http2.FlagDataEndStream, stream, empty)); err != nil {
			return err
		}
	}
	return nil
}
