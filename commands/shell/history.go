package shell

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/wstun/wstun/commands/textfile"
)

// maxHistory is the number of lines that are kept.
const maxHistory = 1000

// History keeps the lines that the user typed, the last 1000. The zero value keeps them
// in memory only.
//
// Lines that begin with a space are not kept. Lines that set metadata, which may be a
// secret, are not written to the file.
type History struct {
	lines []string // oldest first
	path  string   // empty: no file
	err   error    // of the first write that failed
}

// OpenHistory returns a History that reads the file at path and appends new lines to it.
// The first write creates the file (mode 0600) and its directory (mode 0700). A symbolic
// link at path, and anything else that isn't a regular file, is an error. With an error
// OpenHistory returns a History that can be used, if only in memory.
func OpenHistory(path string) (*History, error) {
	h := &History{path: path}
	file, err := openRegular(path, os.O_RDONLY)
	if os.IsNotExist(err) {
		return h, nil
	}
	if err != nil {
		return &History{}, err
	}
	text, err := io.ReadAll(file)
	modeErr := file.Chmod(0o600)
	_ = file.Close() // before rewrite, because Windows doesn't replace an open file
	if err != nil {
		return &History{}, err
	}
	for line := range strings.Lines(string(textfile.Trim(text))) {
		h.remember(strings.TrimRight(line, "\r\n"))
	}
	if modeErr != nil && runtime.GOOS != "windows" { // which has no file modes
		return h, modeErr
	}
	if bytes.Count(text, []byte("\n")) > 2*maxHistory {
		return h, h.rewrite()
	}
	return h, nil
}

// remember adds line in memory. It returns false if line is blank or the last one again.
func (h *History) remember(line string) bool {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
	return true
}

// Add adds a line. Err returns the error if it can't be written.
func (h *History) Add(line string) {
	line = strings.TrimRight(line, " ")
	if strings.HasPrefix(line, " ") || !h.remember(line) || h.path == "" || h.err != nil {
		return
	}
	if name, _, _ := strings.Cut(line, " "); name == "header" {
		return
	}
	h.err = h.append(line)
}

func (h *History) append(line string) error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	file, err := openRegular(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, line+"\n") // in one write: other processes may append, too
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// openRegular is os.OpenFile with mode 0600 for regular files only. It doesn't follow a
// symbolic link at path, which another user may have put there.
func openRegular(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path)
	switch {
	case os.IsNotExist(err) && flag&os.O_CREATE != 0:
		return os.OpenFile(path, flag|os.O_EXCL, 0o600) // with O_EXCL, O_CREATE doesn't follow links
	case err != nil:
		return nil, err
	case info.Mode().Type() == os.ModeSymlink:
		return nil, fmt.Errorf("%s is a symbolic link: name the file itself", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.OpenFile(path, flag&^os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	if opened, err := file.Stat(); err != nil || !os.SameFile(info, opened) {
		_ = file.Close()
		return nil, fmt.Errorf("%s was replaced while it was opened", path)
	}
	return file, nil
}

// rewrite replaces the file by one with the lines in memory.
func (h *History) rewrite() error {
	file, err := os.CreateTemp(filepath.Dir(h.path), ".history-*") // with mode 0600
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for _, line := range h.lines {
		fmt.Fprintln(w, line)
	}
	err = w.Flush()
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), h.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Err returns the error that ended writing to the file, nil if there was none.
func (h *History) Err() error { return h.err }

// Len returns the number of lines.
func (h *History) Len() int { return len(h.lines) }

// At returns the line with index i; 0 is the newest.
func (h *History) At(i int) string { return h.lines[len(h.lines)-1-i] }

// find returns the index of the newest line that contains text, from an index on; -1 if there
// is none, or text is empty. It skips lines equal to the one before from.
func (h *History) find(text string, from int) int {
	for i := from; i < h.Len(); i++ {
		if line := h.At(i); text != "" && strings.Contains(line, text) && (from == 0 || line != h.At(from-1)) {
			return i
		}
	}
	return -1
}
