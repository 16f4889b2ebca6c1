package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
)

// The error of newTestbed contains the stderr of the system's processes.
func TestTestbedStartFails(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		start      func(context.Context, *testbed) (string, error)
	}{
		{"a process ends", "pair ended: bench: only the benchmark itself may start this command", func(ctx context.Context, tb *testbed) (string, error) {
			return tb.startOwnPart(ctx, "pair")
		}},
		{"no such program", "tunnel: ", func(_ context.Context, tb *testbed) (string, error) {
			_, err := tb.startPart("tunnel", "/nonexistent/tunnel")
			return "", err
		}},
	} {
		dir := t.TempDir()
		tb, err := newTestbed(t.Context(), self, dir, &system{name: "broken", start: tt.start}, link{}, 0)
		if err == nil {
			tb.close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", tt.name, left, err)
		}
	}
}

func TestInParallel(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	done := map[int]int{}
	if err := inParallel(100, 7, func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		done[i]++
		return nil
	}); err != nil || len(done) != 100 || done[0] != 1 || done[99] != 1 {
		t.Errorf("%d done, %v; want 100", len(done), err)
	}
	reset := errors.New("reset")
	began := 0
	err := inParallel(100, 1, func(i int) error {
		began++
		if i == 3 {
			return reset
		}
		return nil
	})
	if !errors.Is(err, reset) || !strings.HasPrefix(err.Error(), "connection 4 of 100: ") || began != 4 {
		t.Errorf("after %d: %v; want connection 4 to be the last", began, err)
	}
}
