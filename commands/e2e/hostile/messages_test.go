//go:build linux && !race

package hostile

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"sync"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

// heldMessages is the live heap in MiB that messages may need: the tool's limit for a
// session, and half of it for messages that handlers haven't received.
const heldMessages = 256 + 128

// heldBySmallHub is the live heap in MiB that all sessions may need: the memory of
// smallHub twice, as SECURITY.md says.
const heldBySmallHub = 2 * 128

var messageAttacks = []attack{
	{name: "messages that inflate", target: hub, sessions: 1, held: heldMessages, run: perSession(bombs(demo.Hub_Echo_FullMethodName, 8))},
	{name: "messages that inflate for the proxy", target: proxy, sessions: 1, held: heldMessages, run: perSession(bombs(demo.Hub_Echo_FullMethodName, 8))},
	{name: "unary messages that inflate", target: hub, sessions: 1, held: heldMessages, run: perSession(bombs(demo.Hub_CreateKey_FullMethodName, 12))},
	{name: "messages that inflate on many streams", target: hub, sessions: 1, held: heldMessages, run: onManyStreams(8, bombs(demo.Hub_Echo_FullMethodName, 1))},
	{name: "messages that inflate in many sessions", target: mediumHub, sessions: 12, held: heldMessages, run: perSession(bombs(demo.Hub_Echo_FullMethodName, 1))},
	{name: "messages that inflate and are reset", target: hub, sessions: 1, held: heldMessages, run: perSession(resetBombs)},
	{name: "unfinished messages", target: hub, sessions: 1, held: heldMessages, run: perSession(unfinished(24))},
	{name: "unfinished messages to the proxy", target: proxy, sessions: 1, held: heldMessages, run: perSession(unfinished(24))},
	{name: "unfinished messages in many sessions", target: mediumHub, sessions: 24, held: heldMessages, run: perSession(unfinished(4))},
	{name: "unread messages in frames of 5 bytes", target: hub, sessions: 1, held: heldMessages, run: perSession(tinyMessages(100, 13_000))},
	{name: "unread messages in many sessions", target: smallHub, sessions: 24, held: heldBySmallHub, run: perSession(tinyMessages(100, 500))},
	{name: "messages that the upstream doesn't read", target: proxy, sessions: 1, held: heldMessages, run: perSession(whole(24))},
	{name: "responses to a client without window", target: hub, sessions: 1, held: heldMessages, run: perSession(templates)},
	{name: "responses to a client of the proxy without window", target: proxy, sessions: 1, held: heldMessages, run: perSession(templates)},
	{name: "responses to clients without window on many streams", target: hub, sessions: 1, held: heldMessages, run: onManyStreams(64, templatesTimes(5))},
	{name: "responses to a client without window in many sessions", target: smallHub, sessions: 12, held: heldBySmallHub, run: perSession(templatesTimes(40))},
}

// noWindow is the setting of a client that accepts no data.
var noWindow = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}

// perSession returns an attack on one HTTP/2 connection in each session at the same time.
// The client has no window for responses.
func perSession(run func(*http2Conn) error) func(*attacker) error {
	return func(a *attacker) error {
		return together(len(a.sessions), func(i int) error {
			c, err := a.openHTTP2(i, noWindow)
			if err != nil {
				return err
			}
			return run(c)
		})
	}
}

// together calls run with 0 to n-1 at the same time, and returns the first error.
func together(n int, run func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- run(i) }()
	}
	var first error
	for range n {
		first = cmp.Or(first, <-errs)
	}
	return first
}

const textSize = 63 * mib

// textHeader is the start of an EchoRequest whose text is of textSize, and of a
// CreateKeyRequest with such a name.
var textHeader = binary.AppendUvarint([]byte{1<<3 | 2}, textSize)

// bomb is a message of 63 MiB, compressed, with gRPC's prefix. It fits into a stream's
// first window.
var bomb = sync.OnceValue(func() []byte {
	var message bytes.Buffer
	message.Write(make([]byte, 5))
	zw, _ := gzip.NewWriterLevel(&message, gzip.BestCompression)
	_, _ = zw.Write(textHeader)
	_, _ = zw.Write(bytes.Repeat([]byte("a"), textSize))
	_ = zw.Close()
	b := message.Bytes()
	b[0] = 1 // compressed
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
	return b
})

// bombs returns an attack by calls with two bombs each. gRPC buffers the response to the
// first one, compressed. That to the second must wait, with its request.
func bombs(method string, calls uint32) func(*http2Conn) error {
	block := request(method, "grpc-encoding", "gzip")
	return func(c *http2Conn) error {
		for i := range 2 * calls {
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
}

// resetBombs makes 40 calls with a bomb each and resets each call at once.
func resetBombs(c *http2Conn) error {
	block := request(demo.Hub_Echo_FullMethodName, "grpc-encoding", "gzip")
	for i := range uint32(40) {
		stream := 1 + 2*i
		if _, err := c.Write(appendHeaders(nil, stream, block, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
		if err := c.send(stream, bomb()); err != nil {
			return err
		}
		if _, err := c.Write(appendFrame(nil, http2.FrameRSTStream, 0, stream, make([]byte, 4))); err != nil {
			return err
		}
	}
	return nil
}

// unfinished returns an attack by calls that send all but the last byte of a message of
// 63 MiB, at the same time.
func unfinished(calls uint32) func(*http2Conn) error { return texts(calls, textSize-1) }

// whole returns an attack by calls that send a message of 63 MiB, at the same time.
func whole(calls uint32) func(*http2Conn) error { return texts(calls, textSize) }

func texts(calls uint32, size int) func(*http2Conn) error {
	block := request(demo.Hub_Echo_FullMethodName)
	start := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(textHeader)+textSize))
	start = append(start, textHeader...)
	piece := bytes.Repeat([]byte("a"), mib)
	return func(c *http2Conn) error {
		var begun []byte
		for i := range calls {
			begun = appendHeaders(begun, 1+2*i, block, 0, http2.FlagHeadersEndHeaders)
		}
		if _, err := c.Write(begun); err != nil {
			return err
		}
		return together(int(calls), func(i int) error {
			stream := 1 + 2*uint32(i)
			if err := c.send(stream, start); err != nil {
				return err
			}
			for left := size; left > 0; left -= len(piece) {
				if err := c.send(stream, piece[:min(left, len(piece))]); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// templates makes 300 calls with a response of 5 MiB each.
func templates(c *http2Conn) error { return templatesTimes(300)(c) }

func templatesTimes(calls uint32) func(*http2Conn) error {
	block, empty := request(demo.Hub_GetTemplates_FullMethodName), make([]byte, 5)
	return func(c *http2Conn) error {
		for i := range calls {
			stream := 1 + 2*i
			call := appendHeaders(nil, stream, block, 0, http2.FlagHeadersEndHeaders)
			if _, err := c.Write(appendFrame(call, http2.FrameData, http2.FlagDataEndStream, stream, empty)); err != nil {
				return err
			}
		}
		return nil
	}
}

// tinyMessages returns an attack by calls of Echo, which ends when the client takes no
// responses, with empty messages in a frame each.
func tinyMessages(calls uint32, messages int) func(*http2Conn) error {
	block := request(demo.Hub_Echo_FullMethodName)
	return func(c *http2Conn) error {
		for i := range calls {
			stream := 1 + 2*i
			frames := appendHeaders(nil, stream, block, 0, http2.FlagHeadersEndHeaders)
			for range messages {
				frames = appendFrame(frames, http2.FrameData, 0, stream, make([]byte, 5))
			}
			if _, err := c.Write(frames); err != nil {
				return err
			}
		}
		return nil
	}
}
