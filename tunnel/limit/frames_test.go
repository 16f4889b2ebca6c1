package limit

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// testFrame returns a frame with a payload of n bytes.
func testFrame(t http2.FrameType, flags http2.Flags, stream uint32, n int) []byte {
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), byte(t), byte(flags), 0, 0, byte(stream >> 8), byte(stream)}
	return append(b, bytes.Repeat([]byte{byte(stream)}, n)...)
}

// split passes p to f in pieces of the given size, and returns the bytes to send.
func split(t *testing.T, f *frames, p []byte, size int, visit func(h2.Header, uint32) bool) []byte {
	t.Helper()
	var sent []byte
	for piece := range slices.Chunk(p, size) {
		if err := f.split(piece, visit, func(b []byte) error { sent = append(sent, b...); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return sent
}

func TestSplit(t *testing.T) {
	t.Parallel()
	kept := [][]byte{
		testFrame(http2.FrameSettings, 0, 0, 0),
		testFrame(http2.FrameData, 0, 1, 20),
		windowUpdate(1, 7),
		testFrame(http2.FrameHeaders, 0, 3, 5),
		appendReset(nil, 1, http2.ErrCodeEnhanceYourCalm),
	}
	var all []byte
	for _, frame := range kept {
		all = append(all, windowUpdate(99, 1000)...)
		all = append(all, frame...)
		all = append(all, windowUpdate(99, 2000)...)
	}
	for size := 1; size <= len(all); size++ {
		var f frames
		var increments []uint32
		sent := split(t, &f, all, size, func(h h2.Header, increment uint32) bool {
			increments = append(increments, increment)
			return h.Stream != 99
		})
		if want := bytes.Join(kept, nil); !bytes.Equal(sent, want) {
			t.Errorf("in pieces of %d bytes: sent %x, want %x", size, sent, want)
		}
		want := []uint32{1000, 0, 2000, 1000, 0, 2000, 1000, 7, 2000, 1000, 0, 2000, 1000, 0, 2000}
		if !slices.Equal(increments, want) || !f.atBoundary() {
			t.Errorf("in pieces of %d bytes: increments %v", size, increments)
		}
	}
}

// Whatever is written, all of it is sent if no frame is refused, and nothing is sent twice
// otherwise.
func FuzzSplit(f *testing.F) {
	f.Add(slices.Concat(testFrame(http2.FrameData, 0, 1, 20), windowUpdate(3, 9)), uint8(3), false)
	f.Add(windowUpdate(0, 1<<31-1), uint8(1), true)
	f.Fuzz(func(t *testing.T, p []byte, size uint8, refuse bool) {
		var fr frames
		sent := split(t, &fr, p, int(size)+1, func(h h2.Header, _ uint32) bool {
			return !refuse || h.Type != http2.FrameWindowUpdate || h.Length != 4
		})
		sent = append(sent, fr.partial...)
		if !refuse && !bytes.Equal(sent, p) {
			t.Errorf("of %x, %x is sent", p, sent)
		}
		if len(sent) > len(p) {
			t.Errorf("of %d bytes, %d are sent", len(p), len(sent))
		}
	})
}
