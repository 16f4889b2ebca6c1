// Package textfile reads text files that may begin with a byte order mark, as editors on
// Windows write them.
package textfile

import (
	"bufio"
	"bytes"
	"io"
	"os"
)

// bom is the byte order mark U+FEFF in UTF-8.
var bom = []byte("\ufeff")

// Read is os.ReadFile without a byte order mark.
func Read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	return Trim(text), err
}

// Trim returns text without a byte order mark.
func Trim(text []byte) []byte { return bytes.TrimPrefix(text, bom) }

// NewReader returns a reader of r without a byte order mark. Only if r begins with the first
// byte of one does Read wait for more than one byte.
func NewReader(r io.Reader) io.Reader { return &reader{r: bufio.NewReader(r)} }

type reader struct {
	r       *bufio.Reader
	started bool
}

func (r *reader) Read(p []byte) (int, error) {
	if !r.started {
		first, err := r.r.Peek(1)
		if err != nil {
			return 0, err // a terminal's end of file isn't read twice
		}
		r.started = true
		if first[0] == bom[0] {
			if start, _ := r.r.Peek(len(bom)); bytes.Equal(start, bom) {
				_, _ = r.r.Discard(len(bom))
			}
		}
	}
	return r.r.Read(p)
}
