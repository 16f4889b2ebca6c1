package ws

import "crypto/subtle"

const (
	keySize = 4 // bytes of a masking key: RFC 6455 §5.3

	// patternSize is how many bytes one call of subtle.XORBytes masks.
	patternSize = 4096
)

// mask is a masking key, repeated so that subtle.XORBytes can mask many bytes at once.
type mask struct {
	pattern [patternSize + keySize]byte
}

// set sets the key. It fills only as much of the pattern as n bytes of payload need.
func (m *mask) set(key []byte, n uint64) {
	fill := int(min(n+keySize, uint64(len(m.pattern))))
	for done := copy(m.pattern[:fill], key); done < fill; done *= 2 {
		copy(m.pattern[done:fill], m.pattern[:done])
	}
}

// xor masks or unmasks src into dst. offset is the position of src in the payload.
func (m *mask) xor(dst, src []byte, offset int) {
	pattern := m.pattern[offset%keySize:][:patternSize]
	for len(src) > 0 {
		n := subtle.XORBytes(dst, src, pattern)
		dst, src = dst[n:], src[n:]
	}
}
