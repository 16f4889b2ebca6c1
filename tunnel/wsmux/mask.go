package wsmux

import "crypto/subtle"

const (
	keyBytes = 4 // of a masking key: RFC 6455 §5.3

	// patternSize is how much is masked at a time, in bytes.
	patternSize = 4096
)

// mask is a masking key, repeated to be quick.
type mask struct {
	pattern [patternSize + keyBytes]byte
}

// set has m mask with key, for a payload of n bytes.
func (m *mask) set(key []byte, n uint64) {
	fill := int(min(n+keyBytes, uint64(len(m.pattern))))
	for done := copy(m.pattern[:fill], key); done < fill; done *= 2 {
		copy(m.pattern[done:fill], m.pattern[:done])
	}
}

// xor masks src, or unmasks it, to dst. It begins at so many bytes of the payload.
func (m *mask) xor(dst, src []byte, at int) {
	pattern := m.pattern[at%keyBytes:][:patternSize]
	for len(src) > 0 {
		n := subtle.XORBytes(dst, src, pattern)
		dst, src = dst[n:], src[n:]
	}
}
