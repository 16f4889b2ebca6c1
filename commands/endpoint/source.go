package endpoint

import (
	"log/slog"
	"os"
	"strings"
	"sync"
)

// source is a value read from files: certificates and tokens are replaced while
// sessions are up, often by rename. get checks the files each time, so there is
// nothing to close.
type source[T any] struct {
	paths []string
	load  func() (T, error)

	mu    sync.Mutex
	value T
	infos []os.FileInfo // of paths, before the last load
}

// newSource loads the value for the first time.
func newSource[T any](load func() (T, error), paths ...string) (*source[T], error) {
	s := &source[T]{paths: paths, load: load, infos: stat(paths)}
	var err error
	s.value, err = load()
	return s, err
}

// Reloaded loads a value from files, and returns a function that loads it again when a file
// has changed, and returns it. Of a value that can't be loaded later, it keeps the one
// before, and logs a warning.
func Reloaded[T any](load func() (T, error), paths ...string) (get func(*slog.Logger) T, err error) {
	s, err := newSource(load, paths...)
	return s.get, err
}

// get returns the value, and loads it again if the files have changed. If that fails,
// it logs a warning once and returns the value before.
func (s *source[T]) get(logger *slog.Logger) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := stat(s.paths)
	if sameFiles(s.infos, infos) {
		return s.value
	}
	s.infos = infos
	files := slog.String("files", strings.Join(s.paths, " "))
	value, err := s.load()
	if err != nil {
		logger.Warn("changed files can't be used, the old ones stay in use", files, slog.Any("err", err))
		return s.value
	}
	logger.Info("files reloaded", files)
	s.value = value
	return value
}

// stat returns the information on each path; nil for one that doesn't exist.
func stat(paths []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			infos[i] = info
		}
	}
	return infos
}

func sameFiles(a, b []os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil || b[i] == nil:
			if a[i] != b[i] {
				return false
			}
		case !os.SameFile(a[i], b[i]), !a[i].ModTime().Equal(b[i].ModTime()), a[i].Size() != b[i].Size():
			return false
		}
	}
	return true
}
