package proxy

import (
	"bytes"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// countingPool counts the buffers in use.
type countingPool struct {
	mem.BufferPool
	out, got atomic.Int64
}

func newCountingPool() *countingPool { return &countingPool{BufferPool: mem.DefaultBufferPool()} }

func (p *countingPool) Get(n int) *[]byte {
	p.out.Add(1)
	p.got.Add(1)
	return p.BufferPool.Get(n)
}

func (p *countingPool) Put(b *[]byte) {
	p.out.Add(-1)
	p.BufferPool.Put(b)
}

func TestCodec(t *testing.T) {
	t.Parallel()
	if got := serverCodec.Name(); got != "proto" {
		t.Errorf("Name() = %q", got)
	}
	pool := newCountingPool()
	in := mem.BufferSlice{mem.Copy(make([]byte, 1<<16), pool), mem.Copy(make([]byte, 1<<17), pool)}
	var m rawMessage
	if err := serverCodec.Unmarshal(in, &m); err != nil {
		t.Fatal(err)
	}
	in.Free() // as grpc-go does
	out, err := serverCodec.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	m.free()
	if n := out.Len(); n != 3<<16 {
		t.Errorf("%d bytes came out", n)
	}
	if n := pool.out.Load(); n != 2 {
		t.Errorf("%d buffers in use before the last Free, want 2", n)
	}
	out.Free()
	if n := pool.out.Load(); n != 0 {
		t.Errorf("%d buffers were not freed", n)
	}

	want := &grpc_testing.SimpleRequest{ResponseSize: 7}
	out, err = serverCodec.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &grpc_testing.SimpleRequest{}
	if err := serverCodec.Unmarshal(out, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("a generated message: %v, %v", got, err)
	}
	if _, err := serverCodec.Marshal(7); err == nil {
		t.Error("an int was marshalled")
	}
}

// TestBuffersFreed checks that both hops free their buffers.
func TestBuffersFreed(t *testing.T) {
	t.Parallel()
	pool := newCountingPool()
	t.Cleanup(func() { // after all servers and clients have closed
		if n := pool.out.Load(); n != 0 {
			t.Errorf("%d of %d buffers were not freed", n, pool.got.Load())
		}
	})
	u, err := newUpstream(serveRaw(t, echo), nil, nil, experimental.WithBufferPool(pool))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	cc := client(t, serve(t, nil, append(New([]*Upstream{u}).ServerOptions(), experimental.BufferPool(pool))...))
	req := bytes.Repeat([]byte{'x'}, 100_000)
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		for range 20 {
			if got, err := invoke(t.Context(), cc, method, req, opts...); err != nil || !bytes.Equal(got, req) {
				t.Fatalf("received %d bytes, %v", len(got), err)
			}
		}
		s := open(t.Context(), t, cc, method, opts...)
		for range 20 {
			send(t, s, string(req))
			if _, err := receive(s); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.CloseSend()
		_, _ = receive(s)
	}
}
