package recording

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// BenchmarkPcapng converts a call, and a long message.
func BenchmarkPcapng(b *testing.B) {
	for _, bench := range []struct {
		name string
		size int
	}{{"small", 10}, {"1MiB", 1 << 20}} {
		s := newSample()
		s.b = nil
		s.call(1, 3, "/demo.v1.Hub/Unary").request("x").halfClose().header().response(strings.Repeat("x", bench.size)).end(codes.OK, "", nil)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.b)))
			p := NewPcapng("")
			out := p.Start(nil)
			for b.Loop() {
				out = p.Append(out[:0], s.b)
			}
		})
	}
}
