package commands

import (
	"io"

	"github.com/wstun/wstun/tunnel/escape"
)

// cleaned is stdout or stderr. Any text written to it may contain a peer's: it masks
// secrets, and then escapes the characters that a terminal would interpret. Each Write has
// whole texts. Where one line is expected, the caller uses [escape.Line] as well.
type cleaned struct {
	io.Writer
	secrets *escape.Secrets
}

func (c cleaned) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.Writer, escape.Text(c.secrets.Mask(string(p)))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unmasked returns the writer that w wraps: for RPC messages and the addresses of
// listeners, which are escaped but otherwise exact, and for other processes.
func unmasked(w io.Writer) io.Writer {
	if c, ok := w.(cleaned); ok {
		return c.Writer
	}
	return w
}
