package commands

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/outbound"
)

// readyFile is the file of --ready-file. It replaces and removes ready files alone,
// because a path is easily mistyped.
type readyFile struct {
	path    string // empty: none
	written string // the text; empty: none
}

// maxReadyFile is more than the addresses of any run need.
const maxReadyFile = 64 << 10

// check returns an error if the file couldn't be written later.
func (f *readyFile) check() error {
	if f.path == "" {
		return nil
	}
	if err := f.checkExisting(); err != nil {
		return &usage.Error{Err: fmt.Errorf("--ready-file %s: %w", f.path, err), Advice: "name another path, or remove the file there"}
	}
	tmp, err := f.createTemp()
	if err != nil {
		return usage.Errorf("--ready-file %s: %w", f.path, pathCause(err))
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

// clear removes the file of an earlier run, once this run has its addresses: until then
// the other one may be ready and running.
func (f *readyFile) clear() error {
	if f.path == "" {
		return nil
	}
	err := f.checkExisting()
	if err == nil {
		if err = os.Remove(f.path); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("--ready-file %s: %w", f.path, pathCause(err))
	}
	return nil
}

// checkExisting returns an error if the path is anything but a ready file or an empty
// one, or free.
func (f *readyFile) checkExisting() error {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return pathCause(err)
	case !info.Mode().IsRegular():
		return errors.New("it exists and is not a file")
	case info.Size() <= maxReadyFile:
		text, err := os.ReadFile(f.path)
		if err != nil {
			return pathCause(err)
		}
		if isReadyText(string(text)) {
			return nil
		}
	}
	return errors.New("the file exists, and wstun has not written it")
}

// isReadyText reports whether text may be that of a ready file: one URL, or addresses,
// one a line.
func isReadyText(text string) bool {
	text = strings.TrimSuffix(text, "\n")
	if _, err := outbound.ParseURL(text); err == nil || text == "" {
		return true
	}
	for line := range strings.SplitSeq(text, "\n") {
		if addr, err := outbound.ParseAddr(line); err != nil || addr.String() != line { // not a bare port
			return false
		}
	}
	return true
}

// write writes the file at once: it is renamed into place.
func (f *readyFile) write(text string) error {
	tmp, err := f.createTemp()
	if err != nil {
		return pathCause(err)
	}
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return pathCause(err)
	}
	f.written = text
	return nil
}

func (f *readyFile) createTemp() (*os.File, error) {
	return os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
}

// remove removes the file that write has written, unless it has changed.
func (f *readyFile) remove() error {
	if text, err := os.ReadFile(f.path); f.written == "" || err != nil || string(text) != f.written {
		return nil //nolint:nilerr // it isn't this run's any more
	}
	f.written = ""
	return os.Remove(f.path)
}
