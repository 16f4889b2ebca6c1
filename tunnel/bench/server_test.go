package main

import (
	"errors"
	"io"
	"testing"
	"time"
)

// Only bytes after the warm-up are measured, and the end of the connection is an error.
func TestReceiveFor(t *testing.T) {
	t.Parallel()
	from, to := tcpPair(t)
	go writeZeros(from)
	const d = 20 * time.Millisecond
	s, err := receiveFor(to, d, d)
	if err != nil || s.Measured <= 0 || s.Measured >= s.All || s.Took < int64(d) {
		t.Errorf("receiveFor = %+v, %v; want 0 < Measured < All in at least %v", s, err, d)
	}
	from.Close()
	if _, err := receiveFor(to, 0, time.Hour); !errors.Is(err, io.EOF) {
		t.Errorf("receiveFor at the end = %v, want io.EOF", err)
	}
}
