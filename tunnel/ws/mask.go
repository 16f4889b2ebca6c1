package ws

import "crypto/subtle"

const (
	keySize = 4 // bytes of a masking key: RFC 6455 §5.3

	// patternSize is how many bytes are masked at a time.
	patternSize = 4096
)

// mask is a masking key, repeated so that many bytes are masked at a time.
type mask struct {
	pattern [patternSize + keySize]byte
}

// set sets the key, for a payload of n bytes.
func (m *mask) set(key []byte, n uint64) {
	fill := int(min(n+keySize, uint64(len(m.pattern))))
	for done := copy(m.pattern[:fill], key); done < fill; done *= 2 {
		copy(m.pattern[done:fill], m.pattern[:done])
	}
}

// xor masks or unmasks src, which begins at the given offset of the payload, into
// dst.
func (m *mask) xor(dst, src []byte, offset int) {
	pattern := m.pattern[offset%keySize:][:patternSize]
	for len(src) > 0 {
		n := subtle.XORBytes(dst, src, pattern)
		dst, src = dst[n:], src[n:]
	}
}
