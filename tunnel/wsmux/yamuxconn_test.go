package wsmux

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// limitPings counts each Ping, however the bytes are split, but not a Ping's bytes
// inside the body of a data frame.
func TestYamuxConnCountsPings(t *testing.T) {
	t.Parallel()
	frame := func(kind byte, flags uint16, length uint32, body ...byte) []byte {
		h := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
		h = binary.BigEndian.AppendUint32(h, 1)
		return append(binary.BigEndian.AppendUint32(h, length), body...)
	}
	ping := frame(yamuxTypePing, yamuxFlagSYN, 7)
	var sent []byte
	const pings = 20
	for i := range pings {
		body := make([]byte, 12*i)
		for n := 0; n < len(body); n += len(ping) {
			copy(body[n:], ping)
		}
		sent = append(sent, ping...)
		sent = append(sent, frame(yamuxTypeData, 0, uint32(len(body)), body...)...)
		sent = append(sent, frame(1, 0, 1000)...)                        // a window update has no body
		sent = append(sent, frame(yamuxTypePing, yamuxFlagACK, 1000)...) // nor has a reply
	}
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := newYamuxConn(nil)
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(40))
			c.limitPings(rest[:n])
			rest = rest[n:]
		}
		if got := len(c.pings); got != pings {
			t.Errorf("with seed %d: %d Pings, want %d", seed, got, pings)
		}
	}
}
