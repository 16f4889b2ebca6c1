package mux

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReceiveWindow(t *testing.T) {
	t.Parallel()
	const rtt = time.Second
	for _, tt := range []struct {
		name  string
		size  uint32
		since time.Duration // since the last update
		grown int64         // by all windows of the session
		read  int
		want  uint32 // update
		to    uint32 // size
	}{
		{"little read", initialWindow, 0, 0, initialWindow/2 - 1, 0, initialWindow},
		{"half read within a round trip", initialWindow, rtt, 0, initialWindow / 2, initialWindow * 3 / 2, 2 * initialWindow},
		{"all read within a round trip", initialWindow, rtt, 0, initialWindow, 2 * initialWindow, 2 * initialWindow},
		{"half read, slowly", initialWindow, 3 * rtt, 0, initialWindow / 2, initialWindow / 2, initialWindow},
		{"already the largest", maxWindowLongLink, 0, 0, maxWindowLongLink / 2, maxWindowLongLink / 2, maxWindowLongLink},
		{"budget used up", initialWindow, 0, maxGrowth, initialWindow, initialWindow, initialWindow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &windowBudget{roundTrip: func() time.Duration { return rtt }}
			b.growth.Store(tt.grown)
			w := receiveWindow{size: tt.size, remaining: tt.size, unconsumed: tt.size, updated: time.Now().Add(-tt.since)}
			if !w.receive(uint32(tt.read)) {
				t.Fatalf("receive(%d) = false, want true", tt.read)
			}
			if got := w.consume(b, tt.read); got != tt.want || w.size != tt.to {
				t.Errorf("consume(%d) = %d and the size is %d, want %d and %d", tt.read, got, w.size, tt.want, tt.to)
			}
			if want := tt.size - uint32(tt.read) + tt.want; w.remaining != want {
				t.Errorf("the peer may send %d more, want %d", w.remaining, want)
			}
			if got, want := b.growth.Load()-tt.grown, int64(tt.to-tt.size); got != want {
				t.Errorf("the session's windows have grown by %d, want %d", got, want)
			}
			w.release(b)
			w.release(b)
			if got := b.growth.Load(); got != tt.grown {
				t.Errorf("growth after release = %d, want %d", got, tt.grown)
			}
		})
	}
}

func TestFixedReceiveWindow(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	w := newReceiveWindow(size)
	_ = w.receive(size)
	b := &windowBudget{roundTrip: func() time.Duration { return time.Hour }}
	if got := w.consume(b, size); got != size || w.size != size {
		t.Errorf("consume(%d) = %d and the size is %d, want both to be %d", size, got, w.size, size)
	}
}

func TestReceiveWindowIsExceeded(t *testing.T) {
	t.Parallel()
	w := newReceiveWindow(0)
	for _, tt := range []struct {
		n    uint32
		want bool
	}{{initialWindow + 1, false}, {^uint32(0), false}, {initialWindow, true}, {0, true}, {1, false}} {
		if got := w.receive(tt.n); got != tt.want {
			t.Errorf("receive(%d) = %v, want %v", tt.n, got, tt.want)
		}
	}
}

func TestLargestWindow(t *testing.T) {
	t.Parallel()
	for rtt, want := range map[time.Duration]uint32{
		0:                     maxWindowShortLink,
		time.Millisecond:      maxWindowShortLink,
		10 * time.Millisecond: 4_000_000,
		time.Hour:             maxWindowLongLink,
	} {
		if got := largestWindow(rtt); got != want {
			t.Errorf("largestWindow(%v) = %d, want %d", rtt, got, want)
		}
	}
}

// A peer can send one window of bytes to a stream that isn't read. A window update
// follows when half of the window has been read.
func TestStreamWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, nil)
		a, b := streamPair(t, client, server)
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, _ := a.Write(make([]byte, maxWindowLongLink)); n != initialWindow {
			t.Errorf("%d bytes are written to a peer that doesn't read, want %d", n, initialWindow)
		}
		_ = a.SetWriteDeadline(time.Time{})
		p := make([]byte, initialWindow/2-1)
		if n, _ := b.Read(p); n != len(p) {
			t.Errorf("Read = %d bytes, want %d", n, len(p))
		}
		synctest.Wait()
		if a.sendWindow != 0 {
			t.Errorf("an update of %d bytes with less than half of the window read, want 0", a.sendWindow)
		}
		mustRead(t, b, "\x00")
		synctest.Wait()
		if a.sendWindow != initialWindow/2 {
			t.Errorf("an update of %d bytes with half of the window read, want %d", a.sendWindow, initialWindow/2)
		}
	})
}
