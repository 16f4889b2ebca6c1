package h2

import (
	"bytes"
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

// Next returns the bytes of each message, however they are cut, and Prefix its prefix.
func TestMessagesNext(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(2, 2))
	var data []byte
	var want [][]byte
	for i := range 300 {
		body := bytes.Repeat([]byte{byte(i)}, rnd.IntN(20))
		data = binary.BigEndian.AppendUint32(append(data, byte(i&1)), uint32(len(body)))
		data, want = append(data, body...), append(want, body)
	}
	var m Messages
	var body []byte
	for len(data) > 0 {
		p := data[:min(len(data), 1+rnd.IntN(30))]
		data = data[len(p):]
		for len(p) > 0 {
			part, rest := m.Next(p)
			if len(rest) == len(p) {
				t.Fatal("Next scanned nothing")
			}
			body, p = append(body, part...), rest
			if !m.AtBoundary() {
				continue
			}
			i := m.Count() - 1
			if flags, length := m.Prefix(); flags != byte(i&1) || int(length) != len(want[i]) || !bytes.Equal(body, want[i]) {
				t.Fatalf("message %d: flags %d, length %d, body %x, want %x", i, flags, length, body, want[i])
			}
			body = body[:0]
		}
	}
	if m.Count() != uint64(len(want)) {
		t.Errorf("%d messages, want %d", m.Count(), len(want))
	}
}
