package forward

import (
	"io"
	"sync"
	"testing"

	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// BenchmarkForward copies from a socket to a stream and from that to another socket, as
// from a gRPC client to its server: 128 KiB per operation, or a byte there and back.
func BenchmarkForward(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "TLS"}[secure]
		b.Run(name+"/bulk", func(b *testing.B) { benchmarkForward(b, secure, 128*1024, false) })
		b.Run(name+"/round trip", func(b *testing.B) { benchmarkForward(b, secure, 1, true) })
	}
}

func benchmarkForward(b *testing.B, secure bool, block int, echo bool) {
	b.Helper()
	client, server := sessionPair(b)
	if secure {
		client, server = securePair(b, "w-1")
	}
	local, near := socketPair(b, "tcp", "127.0.0.1:0")
	far, remote := socketPair(b, "tcp", "127.0.0.1:0")
	accepted := make(chan wsmux.Conn, 1)
	go server.AcceptEach(func(c wsmux.Conn) { accepted <- c })
	from, err := client.Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	to := <-accepted
	var forwarding sync.WaitGroup
	for _, hop := range [][2]endpoint{{newSocketEndpoint(near), connEndpoint(from)}, {connEndpoint(to), newSocketEndpoint(far)}} {
		fl := newFlow(hop[0], func(error) {}, &rpc.Counts{})
		fl.setServer(hop[1], nil)
		forwarding.Go(func() { _ = fl.run() })
	}
	if echo {
		go func() { _, _ = io.Copy(remote, remote) }()
	} else {
		go func() {
			for p := make([]byte, block); ; {
				if _, err := local.Write(p); err != nil {
					return
				}
			}
		}()
	}
	b.SetBytes(int64(block))
	b.ReportAllocs()
	p := make([]byte, block)
	for b.Loop() {
		end := remote
		if echo {
			if _, err := local.Write(p); err != nil {
				b.Fatal(err)
			}
			end = local
		}
		if _, err := io.ReadFull(end, p); err != nil {
			b.Fatal(err)
		}
	}
	newSocketEndpoint(local).abort()
	newSocketEndpoint(remote).abort()
	forwarding.Wait()
}
