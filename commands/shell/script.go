package shell

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
)

// Script is the Input that reads lines from a file or a pipe.
type Script struct {
	r       *bufio.Reader
	pending chan scriptLine // of a read that hasn't returned to ReadLine; nil: none
}

type scriptLine struct {
	text string
	err  error
}

// NewScript returns a Script that reads from r, through a buffer.
func NewScript(r io.Reader) *Script { return &Script{r: bufio.NewReader(r)} }

// ReadLine returns the next line. When ctx ends during a read of r, it returns ctx's
// cause, and the next call returns the result of that read.
func (s *Script) ReadLine(ctx context.Context) (string, error) {
	if s.pending == nil {
		s.pending = make(chan scriptLine, 1)
		go func(to chan<- scriptLine) {
			line, err := s.r.ReadString('\n')
			if errors.Is(err, io.EOF) && line != "" {
				err = nil // the last line may lack a line break
			}
			to <- scriptLine{strings.TrimRight(line, "\r\n"), err}
		}(s.pending)
	}
	select {
	case line := <-s.pending:
		s.pending = nil
		return line.text, line.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// SetPrompt does nothing.
func (s *Script) SetPrompt(string) {}

// Remember does nothing.
func (s *Script) Remember(string) {}

// Clear does nothing.
func (s *Script) Clear() {}
