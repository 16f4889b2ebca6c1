//go:build linux && !race

package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

// floods repeat something small. None may hold memory.
var floods = []attack{
	// WebSocket
	{name: "WebSocket frames of one byte", target: hub, sockets: 1, run: onWebSocket(oneByteFrames)},
	{name: "WebSocket Pings, Pongs unread", target: hub, sockets: 1, run: onWebSocket(webSocketPings)},
	{name: "empty WebSocket messages", target: hub, sockets: 1, run: onWebSocket(emptyMessages)},
	{name: "a WebSocket message that never ends", target: hub, sockets: 1, run: onWebSocket(endlessMessage)},

	// yamux
	{name: "yamux SYN and RST", target: hub, sockets: 1, run: onYamux(synReset)},
	{name: "yamux SYN and RST to dial", target: dial, sockets: 1, run: onYamux(synReset)},
	{name: "yamux SYN", target: hub, sockets: 1, run: onYamux(syn)},
	{name: "yamux SYN to dial", target: dial, sockets: 1, run: onYamux(syn)},
	{name: "yamux window updates", target: hub, sockets: 1, run: onYamux(windowUpdates)},
	{name: "yamux Pings, replies unread", target: hub, sockets: 1, run: onYamux(yamuxPings)},
	{name: "yamux data for unknown streams", target: hub, sockets: 1, run: onYamux(unknownStreams)},
	{name: "yamux data that the upstream doesn't read", target: rawDeaf, sessions: 1, held: 128, run: fillWindows},
	{name: "yamux data beyond the window", target: hub, sockets: 1, run: onYamux(beyondWindow)},

	// HTTP/2
	{name: "HTTP/2 rapid reset", target: hub, sessions: 1, run: onStream(rapidReset)},
	{name: "HTTP/2 rapid reset to the proxy", target: proxy, sessions: 1, run: onStream(rapidReset)},
	{name: "HTTP/2 rapid reset from a local client", target: dial, run: fromLocal(func(c *http2Conn) error { return rapidReset(c) })},
	{name: "HTTP/2 CONTINUATION", target: hub, sessions: 1, run: onStream(continuations)},
	{name: "HTTP/2 SETTINGS, ACKs unread", target: hub, sessions: 1, run: onStream(settings)},
	{name: "HTTP/2 SETTINGS to dial, ACKs unread", target: dial, sessions: 1, run: onStream(settings)},
	{name: "HTTP/2 SETTINGS on 500 connections, ACKs unread", target: smallHub, sessions: 1, held: 256, run: manySettings},
	{name: "HTTP/2 PING, ACKs unread", target: hub, sessions: 1, run: onStream(pings)},
	{name: "HTTP/2 empty DATA", target: hub, sessions: 1, run: onStream(emptyData)},
	{name: "HTTP/2 WINDOW_UPDATE", target: hub, sessions: 1, run: onStream(windowUpdateFrames)},
	{name: "HTTP/2 PRIORITY", target: hub, sessions: 1, run: onStream(priorities)},
	{name: "HTTP/2 calls without end", target: hub, sessions: 1, held: 192, run: onStream(openCalls)},
	{name: "16000 HTTP/2 connections", target: hub, sessions: 1, held: 256, run: onManyStreams(16000, aCall)},
	{name: "16000 HTTP/2 connections to dial", target: dial, sessions: 1, held: 256, run: onManyStreams(16000, aCall)},
}

// flood writes frames n times.
func flood(w io.Writer, frames []byte, n int) error {
	const chunk = 64 << 10
	block := bytes.Repeat(frames, max(1, chunk/len(frames)))
	for left := n * len(frames); left > 0; left -= len(block) {
		if _, err := w.Write(block[:min(left, len(block))]); err != nil {
			return err
		}
	}
	return nil
}

// onWebSocket returns an attack by bytes below the WebSocket. Nothing is read.
func onWebSocket(run func(net.Conn) error) func(*attacker) error {
	return func(a *attacker) error { return run(a.sockets[0].Conn) }
}

// oneByteFrames sends yamux Pings one byte at a time.
func oneByteFrames(conn net.Conn) error {
	ping := yamuxFrame(yamuxPing, flagSYN, 0, 1)
	var frames []byte
	for i := range ping {
		frames = append(frames, webSocketFrame(finalBinary, ping[i:i+1])...)
	}
	return flood(conn, frames, 50_000)
}

func webSocketPings(conn net.Conn) error {
	return flood(conn, webSocketFrame(finalPing, make([]byte, 125)), 200_000)
}

func emptyMessages(conn net.Conn) error {
	return flood(conn, webSocketFrame(finalBinary, nil), 1_000_000)
}

// endlessMessage is one message whose frames are empty and never final.
func endlessMessage(conn net.Conn) error {
	if _, err := conn.Write(webSocketFrame(firstBinary, nil)); err != nil {
		return err
	}
	return flood(conn, webSocketFrame(continued, nil), 1_000_000)
}

// The types and flags of yamux frames.
const (
	yamuxData, yamuxWindow, yamuxPing = 0, 1, 2
	flagSYN, flagRST                  = 1, 8
)

func yamuxFrame(kind byte, flags uint16, stream, length uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, stream), length)
}

// onYamux returns an attack by yamux frames. Nothing is read. The first stream is the
// lowest that the attacker may open.
func onYamux(run func(w io.Writer, first uint32) error) func(*attacker) error {
	return func(a *attacker) error {
		first := uint32(1)
		if a.victim.dials() {
			first = 2
		}
		return run(a.sockets[0], first)
	}
}

// openingStreams writes frames(stream) for 100,000 streams.
func openingStreams(w io.Writer, first uint32, frames func(stream uint32) []byte) error {
	const streams, batch = 100_000, 1000
	for i := uint32(0); i < streams; i += batch {
		var buf []byte
		for k := range uint32(batch) {
			buf = append(buf, frames(first+2*(i+k))...)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func synReset(w io.Writer, first uint32) error {
	return openingStreams(w, first, func(stream uint32) []byte {
		return append(yamuxFrame(yamuxWindow, flagSYN, stream, 0), yamuxFrame(yamuxWindow, flagRST, stream, 0)...)
	})
}

func syn(w io.Writer, first uint32) error {
	return openingStreams(w, first, func(stream uint32) []byte { return yamuxFrame(yamuxWindow, flagSYN, stream, 0) })
}

func windowUpdates(w io.Writer, first uint32) error {
	if _, err := w.Write(yamuxFrame(yamuxWindow, flagSYN, first, 0)); err != nil {
		return err
	}
	return flood(w, yamuxFrame(yamuxWindow, 0, first, 1), 500_000)
}

func yamuxPings(w io.Writer, _ uint32) error {
	return flood(w, yamuxFrame(yamuxPing, flagSYN, 0, 7), 1_000_000)
}

func unknownStreams(w io.Writer, first uint32) error {
	return flood(w, append(yamuxFrame(yamuxData, 0, first+1000, 4), "data"...), 500_000)
}

// fillWindows fills the windows of 1000 streams and the buffers of their sockets.
func fillWindows(a *attacker) error {
	data := appendFrame([]byte(http2.ClientPreface), http2.FrameSettings, 0, 0, nil)
	data = appendHeaders(data, 1, sleepRequest, 0, http2.FlagHeadersEndHeaders)
	data = append(data, bytes.Repeat(appendFrame(nil, http2.FrameData, 0, 1, make([]byte, maxFrame)), 48)...)
	return fillStreams(a, 1000, data)
}

// fillStreams writes data to streams of one session, and waits for none of them.
func fillStreams(a *attacker, streams int, data []byte) error {
	for range streams {
		stream, err := a.sessions[0].Open(context.Background())
		if err != nil {
			return err
		}
		go func() { _, _ = stream.Write(data) }() // until the session ends
	}
	return nil
}

func beyondWindow(w io.Writer, first uint32) error {
	if _, err := w.Write(yamuxFrame(yamuxWindow, flagSYN, first, 0)); err != nil {
		return err
	}
	return flood(w, append(yamuxFrame(yamuxData, 0, first, 1<<16), make([]byte, 1<<16)...), 1000)
}

// onStream returns an attack by HTTP/2 frames on a yamux stream. Nothing is read.
func onStream(run func(io.Writer) error) func(*attacker) error {
	return func(a *attacker) error {
		stream, err := a.sessions[0].Open(context.Background())
		if err != nil {
			return err
		}
		if _, err := stream.Write(appendFrame([]byte(http2.ClientPreface), http2.FrameSettings, 0, 0, nil)); err != nil {
			return err
		}
		return run(stream)
	}
}

// manyCalls writes frames(stream) for n calls.
func manyCalls(w io.Writer, n uint32, frames func(buf []byte, stream uint32) []byte) error {
	var buf []byte
	for i := range n {
		buf = frames(buf, 1+2*i)
		if len(buf) > 64<<10 || i == n-1 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

var sleepRequest = request(demo.Hub_Sleep_FullMethodName)

func rapidReset(w io.Writer) error {
	return manyCalls(w, 100_000, func(buf []byte, stream uint32) []byte {
		buf = appendHeaders(buf, stream, sleepRequest, 0, http2.FlagHeadersEndHeaders)
		return appendFrame(buf, http2.FrameRSTStream, 0, stream, []byte{0, 0, 0, byte(http2.ErrCodeCancel)})
	})
}

func openCalls(w io.Writer) error {
	return manyCalls(w, 50_000, func(buf []byte, stream uint32) []byte {
		return appendHeaders(buf, stream, sleepRequest, 0, http2.FlagHeadersEndHeaders)
	})
}

func continuations(w io.Writer) error {
	if _, err := w.Write(appendFrame(nil, http2.FrameHeaders, 0, 1, sleepRequest)); err != nil {
		return err
	}
	return flood(w, appendFrame(nil, http2.FrameContinuation, 0, 1, nil), 500_000)
}

func settings(w io.Writer) error {
	return flood(w, appendFrame(nil, http2.FrameSettings, 0, 0, nil), 500_000)
}

// manySettings sends SETTINGS on 500 streams, as many as fit the windows.
func manySettings(a *attacker) error {
	data := append([]byte(http2.ClientPreface), bytes.Repeat(appendFrame(nil, http2.FrameSettings, 0, 0, nil), 80_000)...)
	return fillStreams(a, 500, data)
}

func pings(w io.Writer) error {
	return flood(w, appendFrame(nil, http2.FramePing, 0, 0, make([]byte, 8)), 500_000)
}

func emptyData(w io.Writer) error {
	if _, err := w.Write(appendHeaders(nil, 1, request(demo.Hub_Echo_FullMethodName), 0, http2.FlagHeadersEndHeaders)); err != nil {
		return err
	}
	return flood(w, appendFrame(nil, http2.FrameData, 0, 1, nil), 500_000)
}

func windowUpdateFrames(w io.Writer) error {
	return flood(w, appendFrame(nil, http2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 1}), 500_000)
}

func priorities(w io.Writer) error {
	return flood(w, appendFrame(nil, http2.FramePriority, 0, 3, make([]byte, 5)), 500_000)
}

// aCall makes a call without end.
func aCall(c *http2Conn) error {
	_, err := c.Write(appendHeaders(nil, 1, sleepRequest, 0, http2.FlagHeadersEndHeaders))
	return err
}
