package wsmux_test

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// After a burst a stream holds no receive buffer, which yamux alone would keep:
// one that has grown to the window. The test isn't parallel, because it looks
// at the heap of the whole process.
func TestStreamGivesBackItsBuffer(t *testing.T) {
	const streams, burst = 20, 3 << 20 // less than a window: nothing but memory holds it
	client, server := sessionsWith(t, &wsmux.Options{Window: 4 << 20})
	var pairs [streams][2]*wsmux.Stream
	for i := range pairs {
		pairs[i][0], pairs[i][1] = connect(t, client, server)
	}
	before := heap()
	block := make([]byte, 64<<10)
	for i := range streams * burst / len(block) {
		if _, err := pairs[i%streams][0].Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if held := heap() - before; held < streams*burst/2 {
		t.Errorf("%d bytes wait to be read, and the heap has grown by %d: this test measures nothing", streams*burst, held)
	}
	for _, pair := range pairs {
		if _, err := io.CopyN(io.Discard, pair[1], burst-1); err != nil {
			t.Fatal(err)
		}
		if n, err := pair[1].Read(make([]byte, 10)); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v, want the last byte", n, err)
		}
	}
	for held := heap() - before; held > streams*(64<<10); held = heap() - before {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("%d idle streams hold %d KiB each", streams, held/streams>>10)
		}
	}
	for _, pair := range pairs { // and they still work
		mustWrite(t, pair[0], "hello")
		mustRead(t, pair[1], "hello")
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
