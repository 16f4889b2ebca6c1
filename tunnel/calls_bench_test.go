package tunnel

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
)

// discardConn is a connection that takes all.
type discardConn struct{ net.Conn }

func (discardConn) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkFollow follows unary calls, as both directions of a connection do.
func BenchmarkFollow(b *testing.B) {
	c := newCalls()
	client := newFrames(c, true)
	w := newClientWriter(&flow{near: discardConn{}, calls: c, fromServer: newFrames(c, false)})
	client.follow(append([]byte(h2Preface), rawFrame(h2Settings, 0, 0, 0)...))
	_, _ = w.Write(rawFrame(h2Settings, 0, 0, 0))
	request := slices.Concat(rawFrame(h2Headers, h2EndHeaders, 1, 20), rawFrame(h2Data, h2EndStream, 1, 25))
	answer := slices.Concat(
		rawFrame(h2Headers, h2EndHeaders, 1, 20), rawFrame(h2Data, 0, 1, 25), rawFrame(h2Headers, h2EndHeaders|h2EndStream, 1, 20))
	number := func(frames []byte, stream uint32) {
		for len(frames) > 0 {
			binary.BigEndian.PutUint32(frames[5:], stream)
			frames = frames[h2HeaderSize+int(frames[2]):]
		}
	}
	b.ReportAllocs()
	for stream := uint32(1); b.Loop(); stream += 2 {
		number(request, stream)
		number(answer, stream)
		client.follow(request)
		if _, err := w.Write(answer); err != nil {
			b.Fatal(err)
		}
	}
	if len(c.open) > 0 {
		b.Errorf("%d calls are open", len(c.open))
	}
}
