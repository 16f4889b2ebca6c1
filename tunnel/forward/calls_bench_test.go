package forward

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
)

// discardConn is a connection whose Write discards.
type discardConn struct{ net.Conn }

func (discardConn) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkTrackCalls tracks unary calls in both directions of a connection.
func BenchmarkTrackCalls(b *testing.B) {
	fl := newFlow(newSocketEndpoint(discardConn{}), nil, &rpc.Counts{})
	fl.calls = newHTTP2Calls()
	w := &clientWriter{fl: fl}
	// As in the steady state, the blocks have indexes only.
	block := func(flags http2.Flags, block string) []byte {
		return append(rawFrame(http2.FrameHeaders, flags, 1, len(block))[:h2.HeaderLen], block...)
	}
	message := string(append([]byte{0, 0, 0, 0, 20}, make([]byte, 20)...))
	fl.calls.scan(&fl.calls.responses, block(endHeaders, "\x40\x0bgrpc-status\x010"))
	request := slices.Concat(block(endHeaders, "\x83\x86\x84\x81\x8f\x8c\x8d"), []byte(dataFrame(endStream, message)))
	answer := slices.Concat(block(endHeaders, "\x88\x8f"), []byte(dataFrame(0, message)), block(endHeaders|endStream, "\xbe\x8e"))
	setStream := func(frames []byte, stream uint32) {
		for len(frames) > 0 {
			binary.BigEndian.PutUint32(frames[5:], stream)
			frames = frames[h2.HeaderLen+int(frames[2]):]
		}
	}
	b.ReportAllocs()
	for stream := uint32(1); b.Loop(); stream += 2 {
		setStream(request, stream)
		setStream(answer, stream)
		fl.calls.scan(&fl.calls.requests, request)
		if _, err := w.Write(answer); err != nil {
			b.Fatal(err)
		}
	}
	if len(fl.calls.open) > 0 {
		b.Errorf("%d calls are open, want 0", len(fl.calls.open))
	}
}
