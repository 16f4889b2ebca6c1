package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
)

// What is wrong with a system is said in its processes' words.
func TestStageStartFails(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		start      func(context.Context, *stage) (string, error)
	}{
		{"a process ends", "pair ended: bench: this is for the benchmark to start", func(ctx context.Context, st *stage) (string, error) {
			return st.selfPart(ctx, "pair")
		}},
		{"no such program", "tunnel: ", func(_ context.Context, st *stage) (string, error) {
			_, err := st.part("tunnel", "/nonexistent/tunnel")
			return "", err
		}},
	} {
		dir := t.TempDir()
		st, err := newStage(t.Context(), self, dir, &system{name: "broken", start: tt.start}, link{}, 0)
		if err == nil {
			st.close()
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
