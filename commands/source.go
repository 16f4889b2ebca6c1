package commands

import (
	"log/slog"
	"os"
	"strings"
	"sync"
)

// source is a value made from files, and made again when they have changed:
// certificates and tokens are replaced while sessions are up, often by rename.
// It looks at the files whenever the value is asked for, so that there is
// nothing to close.
type source[T any] struct {
	paths []string
	load  func() (T, error)

	mu    sync.Mutex
	value T
	infos []os.FileInfo // of paths, when load was called last
}

// newSource loads the value for the first time.
func newSource[T any](load func() (T, error), paths ...string) (*source[T], error) {
	s := &source[T]{paths: paths, load: load, infos: stat(paths)}
	var err error
	s.value, err = load()
	return s, err
}

// get returns the value. If the files have changed and can't be loaded, it
// remains the last good one, and logger is told once.
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
		logger.Warn("changed files are no good, going on with the old ones", files, slog.Any("err", err))
		return s.value
	}
	logger.Info("files reloaded", files)
	s.value = value
	return value
}

// stat returns what is known of each path; nil for one that isn't there.
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
