package main

import (
	"context"
	"errors"
	"os"
	"strings"
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
			return st.helperPart(ctx, "pair")
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
	done := make([]bool, 100)
	r := inParallel(len(done), 7, func(i int) error {
		done[i] = true
		if i%10 == 0 {
			return errors.New("no tens")
		}
		return nil
	})
	for i, d := range done {
		if !d {
			t.Errorf("%d is not done", i)
		}
	}
	if err := r.broken(); r.Failed != 10 || err == nil || err.Error() != "10 connections broken: no tens" {
		t.Errorf("%d failed: %v, want 10", r.Failed, err)
	}
}
