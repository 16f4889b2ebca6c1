package shell

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxHistory is how many lines are kept.
const maxHistory = 1000

// History is the lines that were typed. The zero value keeps them in memory alone.
//
// A line that begins with a blank is not kept, and one that sets metadata, which may
// be a secret, not in the file.
type History struct {
	lines []string // oldest first
	path  string   // empty: no file
	err   error    // of writing
}

// OpenHistory returns the history that is in a file, and goes on writing it. The file
// and its folder are made when there is something to write, for this user's eyes alone.
func OpenHistory(path string) (*History, error) {
	h := &History{path: path}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return h, nil
	}
	if err != nil {
		return &History{}, err
	}
	for line := range strings.Lines(string(text)) {
		h.keep(strings.TrimRight(line, "\r\n"))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return h, err
	}
	if bytes.Count(text, []byte("\n")) > 2*maxHistory {
		return h, h.rewrite()
	}
	return h, nil
}

// keep reports whether line is a new one.
func (h *History) keep(line string) bool {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
	return true
}

// Add adds a line. That it can't be written shows in Err.
func (h *History) Add(line string) {
	line = strings.TrimRight(line, " ")
	if strings.HasPrefix(line, " ") || !h.keep(line) || h.path == "" || h.err != nil {
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
	file, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, line+"\n") // in one write, since others may write, too
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// rewrite has the file hold the lines that are kept.
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

// Err returns why lines are not written to the file any more, nil if they are.
func (h *History) Err() error { return h.err }

// Len returns how many lines there are.
func (h *History) Len() int { return len(h.lines) }

// At returns a line; 0 is the newest one.
func (h *History) At(i int) string { return h.lines[len(h.lines)-1-i] }
