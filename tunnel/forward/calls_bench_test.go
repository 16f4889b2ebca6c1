package forward

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// discardConn is a connection whose Write discards.
type discardConn struct{ net.Conn }

func (discardConn) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkTrackCalls tracks unary calls in both directions of a connection.
func BenchmarkTrackCalls(b *testing.B) {
	fl := newFlow(newSocketEndpoint(discardConn{}), nil)
	fl.calls = newHTTP2Calls()
	w := &clientWriter{fl: fl}
	request := slices.Concat(rawFrame(http2.FrameHeaders, endHeaders, 1, 20), rawFrame(http2.FrameData, endStream, 1, 25))
	answer := slices.Concat(
		rawFrame(http2.FrameHeaders, endHeaders, 1, 20), rawFrame(http2.FrameData, 0, 1, 25), rawFrame(http2.FrameHeaders, endHeaders|endStream, 1, 20))
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
		fl.calls.scan(fl.calls.requests, request)
		if _, err := w.Write(answer); err != nil {
			b.Fatal(err)
		}
	}
	if len(fl.calls.open) > 0 {
		b.Errorf("%d calls are open, want 0", len(fl.calls.open))
	}
}
