package outbound

import (
	"bufio"
	"bytes"
	"fmt"
	"net/textproto"
)

// maxInterim is how many interim responses may precede a response.
const maxInterim = 32

var errInterim = fmt.Errorf("more than %d interim answers", maxInterim)

// SkipInterim reads the interim responses that precede a response from r, and discards
// them: those with a 1xx status code other than 101, such as 103 Early Hints (RFC 9110
// §15.2). It reads nothing of the response itself, or of another protocol. The error is
// about more than 32 interim responses, or that of r. r must bound their size.
func SkipInterim(r *bufio.Reader) error {
	for range maxInterim + 1 {
		head, err := r.Peek(len("HTTP/1.1 100"))
		if len(head) == 0 {
			return err
		}
		if !isInterim(head) {
			return nil
		}
		header := textproto.NewReader(r)
		for {
			line, err := header.ReadLineBytes()
			if err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
		}
	}
	return errInterim
}

// isInterim reports whether head, the first twelve bytes of a response, are those of an
// interim response.
func isInterim(head []byte) bool {
	version, code, ok := bytes.Cut(head, []byte(" "))
	return ok && bytes.HasPrefix(version, []byte("HTTP/1.")) && len(code) == 3 && code[0] == '1' && string(code) != "101"
}
