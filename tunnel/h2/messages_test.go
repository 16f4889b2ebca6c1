package h2

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestMessagesAtBoundary(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	var data []byte
	ends := map[int]bool{0: true}
	for range 300 {
		length := rnd.IntN(20)
		data = binary.BigEndian.AppendUint32(append(data, 0), uint32(length))
		data = append(data, make([]byte, length)...)
		ends[len(data)] = true
	}
	var m Messages
	for at := 0; at < len(data); {
		if m.AtBoundary() != ends[at] {
			t.Fatalf("after %d bytes: at a boundary: %v", at, !ends[at])
		}
		n := min(len(data)-at, 1+rnd.IntN(9))
		m.Scan(data[at : at+n])
		at += n
	}
}
