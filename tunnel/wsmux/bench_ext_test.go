package wsmux_test

import (
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const benchBlock = 32 * 1024

// benchCopy measures the transfer of b.N blocks from w to r.
func benchCopy(b *testing.B, w io.WriteCloser, r io.Reader) {
	b.Helper()
	b.SetBytes(benchBlock)
	b.ReportAllocs()
	blocks := 0
	done := make(chan int64)
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, benchBlock))
		done <- n
	}()
	block := make([]byte, benchBlock)
	for b.Loop() {
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
		blocks++
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if got, want := <-done, int64(blocks*benchBlock); got != want {
		b.Errorf("%d bytes arrived, want %d", got, want)
	}
}

func BenchmarkWrapConn(b *testing.B) {
	for _, from := range []string{"dialing", "accepting"} {
		b.Run("from the "+from+" side", func(b *testing.B) {
			w, r := tunneltest.WebSockets(b)
			if from == "accepting" {
				w, r = r, w
			}
			reader := wsmux.WrapConn(r)
			defer reader.Close()
			benchCopy(b, wsmux.WrapConn(w), reader)
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for name, limit := range map[string]int{"": 0, ", messages of 32 KiB": 32 * 1024} {
		for _, from := range []string{"dialing", "accepting"} {
			b.Run("from the "+from+" side"+name, func(b *testing.B) {
				client, server := sessionsWith(b, &wsmux.Options{MaxMessage: limit})
				w, r := connect(b, client, server)
				if from == "accepting" {
					w, r = r, w
				}
				benchCopy(b, w, r)
			})
		}
	}
}

// BenchmarkTCP is the baseline for the two benchmarks above.
func BenchmarkTCP(b *testing.B) {
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	w, err := new(net.Dialer).DialContext(b.Context(), "tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	r, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	benchCopy(b, w, r)
}

func BenchmarkUnaryRPC(b *testing.B) {
	dialed, accepted := tunneltest.WebSockets(b)
	tun := newTunnel(b, dialed, accepted)
	req := body(100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tun.client.UnaryCall(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip echoes a small message, alone and next to a stream that is full
// because it isn't read. The results should be equal. p99-ns is the 99th percentile.
func BenchmarkRoundTrip(b *testing.B) {
	for _, stalledStream := range []bool{false, true} {
		b.Run("stalled stream "+strconv.FormatBool(stalledStream), func(b *testing.B) {
			client, server := sessions(b)
			if stalledStream {
				stalled, _ := connect(b, client, server)
				full := make(chan struct{})
				go func() {
					defer close(full)
					_, _ = stalled.Write(make([]byte, 2*(4<<20)))
				}()
				defer func() {
					_ = client.Close()
					<-full
				}()
			}
			near, far := connect(b, client, server)
			go func() { _, _ = io.Copy(far, far) }()
			message := make([]byte, 100)
			var took []time.Duration
			for b.Loop() {
				started := time.Now()
				if _, err := near.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(near, message); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(started))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
		})
	}
}

// BenchmarkGRPCStream measures a server-streaming RPC with large messages.
func BenchmarkGRPCStream(b *testing.B) {
	dialed, accepted := tunneltest.WebSockets(b)
	tun := newTunnel(b, dialed, accepted)
	stream, err := tun.client.StreamingOutputCall(b.Context(), &testpb.StreamingOutputCallRequest{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchBlock)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stream.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGRPCSession measures the start of a session and its first RPC. heap-B is the
// memory that the two ends use afterwards.
func BenchmarkGRPCSession(b *testing.B) {
	b.ReportAllocs()
	before := heap()
	sessions := 0
	for b.Loop() {
		dialed, accepted := tunneltest.WebSockets(b)
		if _, err := newTunnel(b, dialed, accepted).client.UnaryCall(b.Context(), body(100)); err != nil {
			b.Fatal(err)
		}
		sessions++
	}
	b.ReportMetric(float64(heap()-before)/float64(sessions), "heap-B")
}
