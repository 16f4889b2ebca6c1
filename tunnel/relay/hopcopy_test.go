package relay

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// readSizes returns n bytes in each Read, and records how many it may return.
type readSizes struct {
	n      []int
	may    []int
	result error
}

func (r *readSizes) Read(p []byte) (int, error) {
	r.may = append(r.may, len(p))
	if len(r.n) == 0 {
		return 0, r.result
	}
	n := copy(p, bytes.Repeat([]byte{byte(len(r.n))}, r.n[0]))
	r.n = r.n[1:]
	return n, nil
}

// A hop has a large buffer only after a read that fills the small one, and until one that
// wouldn't.
func TestCopyHop(t *testing.T) {
	t.Parallel()
	const small, large = smallHopBuffer, largeHopBuffer
	for _, result := range []error{io.EOF, io.ErrClosedPipe} {
		src := &readSizes{n: []int{1, small, large, small, small - 1, 2, small}, result: result}
		var dst bytes.Buffer
		n, err := copyHop(&dst, src)
		if want := 3*small + large + small + 2; n != int64(want) || dst.Len() != want {
			t.Errorf("copyHop = %d, and writes %d bytes, want %d", n, dst.Len(), want)
		}
		if result == io.EOF && err != nil || result != io.EOF && !errors.Is(err, result) { //nolint:errorlint // that of the table
			t.Errorf("copyHop = %v after %v", err, result)
		}
		if want := []int{small, small, large, large, large, small, small, large}; !slices.Equal(src.may, want) {
			t.Errorf("the buffers have %v bytes, want %v", src.may, want)
		}
	}
}
