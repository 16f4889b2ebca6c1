package shell

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
)

// Script is the Input of lines that nobody types.
type Script struct {
	r      *bufio.Reader
	coming chan scriptLine // of a read that goes on; nil: none does
}

type scriptLine struct {
	text string
	err  error
}

// NewScript returns the Script that r has. It reads ahead.
func NewScript(r io.Reader) *Script { return &Script{r: bufio.NewReader(r)} }

// ReadLine returns the next line. When ctx ends, a read goes on until it yields.
func (s *Script) ReadLine(ctx context.Context) (string, error) {
	if s.coming == nil {
		s.coming = make(chan scriptLine, 1)
		go func(to chan<- scriptLine) {
			line, err := s.r.ReadString('\n')
			if errors.Is(err, io.EOF) && line != "" {
				err = nil // the last one needs no end
			}
			to <- scriptLine{strings.TrimRight(line, "\r\n"), err}
		}(s.coming)
	}
	select {
	case line := <-s.coming:
		s.coming = nil
		return line.text, line.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// SetPrompt does nothing.
func (s *Script) SetPrompt(string) {}
