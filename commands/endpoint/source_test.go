package endpoint

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSourceFollowsItsFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		// By rename: it is another file then, even if size and time are the same.
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	loads := 0
	write("one")
	s, err := newSource(func() (string, error) {
		loads++
		text, err := os.ReadFile(path)
		if err == nil && string(text) == "bad" {
			err = errors.New("not a token")
		}
		return string(text), err
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		change func()
		want   string
		loads  int
	}{
		{func() {}, "one", 1},
		{func() { write("two") }, "two", 2},
		{func() {}, "two", 2},
		{func() { write("bad") }, "two", 3},
		{func() {}, "two", 3}, // logged once
		{func() { os.Remove(path) }, "two", 4},
		{func() { write("six") }, "six", 5},
	}
	for i, step := range steps {
		step.change()
		if got := s.get(logger); got != step.want || loads != step.loads {
			t.Errorf("step %d: %q after %d loads, want %q after %d", i, got, loads, step.want, step.loads)
		}
	}
	if n := strings.Count(log.String(), "the old ones stay in use"); n != 2 {
		t.Errorf("%d warnings, want 2:\n%s", n, &log)
	}
}

func TestSourceStartsGood(t *testing.T) {
	t.Parallel()
	if _, err := newSource(func() (string, error) { return "", errors.New("missing") }); err == nil {
		t.Error("a value that can't be loaded at the start is no error")
	}
}
