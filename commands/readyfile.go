package commands

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/wstun/wstun/tunnel/outbound"
)

// readyFile is the file of --ready-file. What stands at its path is replaced and
// removed only if it is a ready file: a path is easily mistyped.
type readyFile struct {
	path string // empty: none

	mu      sync.Mutex
	written os.FileInfo // this run's file; nil if there is none
}

// maxReadyFile is more than the addresses of any run take.
const maxReadyFile = 64 << 10

// check reports what stands in the way of writing the file later.
func (f *readyFile) check() error {
	if f.path == "" {
		return nil
	}
	if _, err := f.leftover(); err != nil {
		return &usageError{err: fmt.Errorf("--ready-file %s: %w", f.path, err), hint: "name another path, or remove what is there"}
	}
	tmp, err := f.createTemp()
	if err == nil {
		_ = tmp.Close()
		err = os.Remove(tmp.Name())
	}
	if err != nil {
		return usagef("--ready-file %s: %w", f.path, pathCause(err))
	}
	return nil
}

// clear removes what an earlier run has left, lest it look like this one's. It
// is for when this run has its addresses: until then another one may be running
// that is ready.
func (f *readyFile) clear() error {
	if f.path == "" {
		return nil
	}
	found, err := f.leftover()
	if found {
		err = os.Remove(f.path)
	}
	if err != nil {
		return fmt.Errorf("--ready-file %s: %w", f.path, pathCause(err))
	}
	return nil
}

// leftover reports whether another run's ready file, or an empty file, is at
// the path. It's an error if there is anything else.
func (f *readyFile) leftover() (bool, error) {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, pathCause(err)
	case !info.Mode().IsRegular():
		return false, errors.New("there is something that is not a file")
	case info.Size() <= maxReadyFile:
		text, err := os.ReadFile(f.path)
		if err != nil {
			return false, pathCause(err)
		}
		if isReadyText(string(text)) {
			return true, nil
		}
	}
	return false, errors.New("there is a file that wstun has not written")
}

// isReadyText reports whether text is what write may have written: one URL, or
// addresses, one a line.
func isReadyText(text string) bool {
	text = strings.TrimSuffix(text, "\n")
	if _, err := outbound.ParseURL(text); err == nil || text == "" {
		return true
	}
	for line := range strings.SplitSeq(text, "\n") {
		if _, err := netip.ParseAddrPort(line); err != nil && !strings.HasPrefix(line, "unix:") {
			return false
		}
	}
	return true
}

// write writes a file that others never see half-written.
func (f *readyFile) write(text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	tmp, err := f.createTemp()
	if err != nil {
		return pathCause(err)
	}
	_, err = tmp.WriteString(text)
	info, serr := tmp.Stat()
	if err = errors.Join(err, serr, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return pathCause(err)
	}
	f.written = info
	return nil
}

func (f *readyFile) createTemp() (*os.File, error) {
	return os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
}

// remove removes the file that write has written, unless another run has
// replaced it.
func (f *readyFile) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Lstat(f.path)
	if f.written == nil || err != nil || !sameFiles([]os.FileInfo{f.written}, []os.FileInfo{info}) {
		return nil
	}
	f.written = nil
	return os.Remove(f.path)
}
