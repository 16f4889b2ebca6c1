package proxy

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
)

// benchmark runs run with a direct and a proxied client of the same upstream.
func benchmark(b *testing.B, run func(b *testing.B, cc *grpc.ClientConn)) {
	b.Helper()
	addr := serveRaw(b, echo)
	b.Run("direct", func(b *testing.B) { run(b, client(b, addr)) })
	b.Run("proxied", func(b *testing.B) { run(b, proxyClient(b, addr)) })
}

// BenchmarkUnary makes sequential calls of 100 bytes each way.
func BenchmarkUnary(b *testing.B) {
	req := make([]byte, 100)
	benchmark(b, func(b *testing.B, cc *grpc.ClientConn) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := invoke(b.Context(), cc, method, req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStream sends messages of 32 KiB both ways concurrently on one call.
func BenchmarkStream(b *testing.B) {
	req := make([]byte, 32<<10)
	benchmark(b, func(b *testing.B, cc *grpc.ClientConn) {
		b.Helper()
		b.ReportAllocs()
		b.SetBytes(int64(len(req)))
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		s := open(ctx, b, cc, method)
		done := make(chan error, 1)
		go func() {
			for {
				var m rawMessage
				if err := s.RecvMsg(&m); err != nil {
					done <- err
					return
				}
				m.free()
			}
		}()
		for b.Loop() {
			if err := s.SendMsg(newRawMessage(req)); err != nil {
				b.Fatal(err)
			}
		}
		_ = s.CloseSend()
		if err := <-done; !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	})
}
