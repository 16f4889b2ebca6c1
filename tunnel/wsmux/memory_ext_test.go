package wsmux_test

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// A stream frees its receive buffer after a burst. (hashicorp/yamux keeps a buffer as
// large as the window.) The test isn't parallel, because it measures the heap of the
// whole process.
func TestStreamFreesItsBuffer(t *testing.T) {
	const streams, burst = 20, 3 << 20 // less than a window, so that a burst is buffered completely
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
	if grown := heap() - before; grown < streams*burst/2 {
		t.Errorf("the heap has grown by %d with %d bytes unread: this test measures nothing", grown, streams*burst)
	}
	for _, pair := range pairs {
		if _, err := io.CopyN(io.Discard, pair[1], burst-1); err != nil {
			t.Fatal(err)
		}
		if n, err := pair[1].Read(make([]byte, 10)); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v, want the last byte", n, err)
		}
	}
	for grown := heap() - before; grown > streams*(64<<10); grown = heap() - before {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("%d idle streams use %d KiB each", streams, grown/streams>>10)
		}
	}
	for _, pair := range pairs { // they still work
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
