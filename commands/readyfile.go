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

// prepare removes the file of an earlier run, and fails if the path is something else or
// can't be written.
func (f *readyFile) prepare() error {
	if f.path == "" {
		return nil
	}
	info, err := os.Lstat(f.path)
	exists := err == nil
	switch {
	case !exists: // writing finds out whether the path is free
	case !info.Mode().IsRegular():
		return f.refuse("it exists and is not a file")
	case info.Size() > maxReadyFile:
		return f.refuse("the file exists, and wstun has not written it")
	default:
		text, err := os.ReadFile(f.path)
		if err != nil {
			return f.refuse(pathCause(err).Error())
		}
		if !isReadyText(string(text)) {
			return f.refuse("the file exists, and wstun has not written it")
		}
	}
	// A script that waits for the file must not see one before it is written for good.
	tmp, err := f.writeTemp("")
	if err == nil {
		err = os.Remove(tmp)
	}
	if err == nil && exists {
		err = os.Remove(f.path)
	}
	if err != nil {
		return f.refuse(pathCause(err).Error())
	}
	return nil
}

func (f *readyFile) refuse(reason string) error {
	return &usage.Error{Err: fmt.Errorf("--ready-file %s: %s", f.path, reason), Advice: "name another path, or remove the file there"}
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

// write writes the whole file at once: it is renamed into place.
func (f *readyFile) write(text string) error {
	tmp, err := f.writeTemp(text)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, f.path); err != nil {
		_ = os.Remove(tmp)
		return pathCause(err)
	}
	f.written = text
	return nil
}

// writeTemp writes text to a new file in the same folder, and returns its path.
func (f *readyFile) writeTemp(text string) (path string, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return "", pathCause(err)
	}
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err != nil {
		_ = os.Remove(tmp.Name())
		return "", pathCause(err)
	}
	return tmp.Name(), nil
}

// remove removes the file that write has written, unless another run has replaced it.
func (f *readyFile) remove() error {
	if text, err := os.ReadFile(f.path); f.written == "" || err != nil || string(text) != f.written {
		return nil //nolint:nilerr // the file is no longer this run's
	}
	f.written = ""
	return os.Remove(f.path)
}
