package main

import (
	"errors"
	"io"
	"testing"
	"time"
)

// Only what comes after the warm-up counts, and an end is not a stall.
func TestSink(t *testing.T) {
	t.Parallel()
	from, to := tcpPair(t)
	go writeForEver(from)
	const d = 20 * time.Millisecond
	s, err := sink(to, d, d)
	if err != nil || s.Measured <= 0 || s.Measured >= s.All || s.Took < int64(d) {
		t.Errorf("sink = %+v, %v; want some of all in at least %v", s, err, d)
	}
	from.Close()
	if _, err := sink(to, 0, time.Hour); !errors.Is(err, io.EOF) {
		t.Errorf("sink at the end: %v, want EOF", err)
	}
}
