package tunnel

import "encoding/binary"

// response is the server's to an open call, as far as it has been followed. Who
// follows the server's frames guards it.
type response struct {
	begun  bool // with headers
	padded bool // and so it isn't known where messages end

	prefix [5]byte // of a message: the last four bytes are its length (PROTOCOL-HTTP2.md of gRPC, Length-Prefixed-Message)
	have   int     // how much of prefix is there
	left   uint32  // of the message behind it
}

// follow takes notice of p, a piece of a DATA frame. It keeps none of it.
func (r *response) follow(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, uint32(len(p))) //nolint:gosec // of a frame, which is 16 MiB at the most
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.prefix[r.have:], p)
		p = p[n:]
		if r.have += n; r.have == len(r.prefix) {
			r.have, r.left = 0, binary.BigEndian.Uint32(r.prefix[1:])
		}
	}
}

// between reports whether another message may come behind what has been followed.
func (r *response) between() bool { return !r.padded && r.have == 0 && r.left == 0 }
