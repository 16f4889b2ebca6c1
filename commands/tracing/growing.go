package tracing

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// growing is a file whose end is that of ctx. If another one takes its name, as when a
// recording is rotated, that one follows.
type growing struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	io.Reader
	idle func() // called while there is nothing to read

	next *os.File // Reader, if it was opened here
}

func (g *growing) Read(p []byte) (int, error) {
	const interval = 100 * time.Millisecond
	for {
		next := g.successor() // whose beginning is later than the end of Reader
		n, err := g.Reader.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if next != "" && g.open(next) == nil {
			continue
		}
		g.idle()
		select {
		case <-time.After(interval):
		case <-g.ctx.Done():
			return 0, io.EOF
		}
	}
}

// successor returns the path of the file if another one has it, otherwise "".
func (g *growing) successor() string {
	f, ok := g.Reader.(*os.File)
	if !ok {
		return ""
	}
	old, err := f.Stat()
	if err != nil {
		return ""
	}
	if now, err := os.Stat(f.Name()); err != nil || os.SameFile(old, now) {
		return ""
	}
	return f.Name()
}

func (g *growing) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	g.close()
	g.Reader, g.next = f, f
	return nil
}

func (g *growing) close() {
	if g.next != nil {
		_ = g.next.Close()
	}
}
