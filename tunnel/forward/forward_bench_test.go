package forward

import (
	"io"
	"sync"
	"testing"

	"github.com/wstun/wstun/tunnel/rpc"
)

// BenchmarkForward copies from a socket to a stream and from that to another socket, as
// from a gRPC client to its server: 128 KiB per operation.
func BenchmarkForward(b *testing.B) {
	client, server := sessionPair(b)
	local, near := socketPair(b, "tcp", "127.0.0.1:0")
	far, remote := socketPair(b, "tcp", "127.0.0.1:0")
	from, err := client.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	to, err := server.Accept()
	if err != nil {
		b.Fatal(err)
	}
	var forwarding sync.WaitGroup
	for _, hop := range [][2]endpoint{{newSocketEndpoint(near), streamEndpoint{from}}, {streamEndpoint{to}, newSocketEndpoint(far)}} {
		fl := newFlow(hop[0], func(error) {}, &rpc.Counts{})
		fl.setServer(hop[1], nil)
		forwarding.Go(func() { _ = fl.run() })
	}
	const block = 128 * 1024
	go func() {
		for p := make([]byte, block); ; {
			if _, err := local.Write(p); err != nil {
				return
			}
		}
	}()
	b.SetBytes(block)
	b.ReportAllocs()
	p := make([]byte, block)
	for b.Loop() {
		if _, err := io.ReadFull(remote, p); err != nil {
			b.Fatal(err)
		}
	}
	newSocketEndpoint(local).abort()
	newSocketEndpoint(remote).abort()
	forwarding.Wait()
}
