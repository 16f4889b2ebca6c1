package shell

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// historyLines returns the lines, newest first.
func historyLines(h *History) []string {
	var lines []string
	for i := range h.Len() {
		lines = append(lines, h.At(i))
	}
	return lines
}

func TestHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "made", "history")
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ls", "ls ", "", "  ", " call Secret", "header authorization: secret", "call Echo"} {
		h.Add(line)
	}
	if got, want := historyLines(h), []string{"call Echo", "header authorization: secret", "ls"}; !slices.Equal(got, want) {
		t.Errorf("in memory %q, want %q", got, want)
	}
	if h.Err() != nil {
		t.Error(h.Err())
	}
	again, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := historyLines(again), []string{"call Echo", "ls"}; !slices.Equal(got, want) {
		t.Errorf("in the file %q, want %q", got, want)
	}
	if runtime.GOOS == "windows" {
		return // Windows has no file modes
	}
	for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", file, got, want)
		}
	}
}

// OpenHistory makes the file private and shortens a long one.
func TestHistoryRewrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	var text strings.Builder
	for i := range 3 * maxHistory {
		fmt.Fprintf(&text, "call %d\n", i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	newest := fmt.Sprintf("call %d", 3*maxHistory-1)
	if h.Len() != maxHistory || h.At(0) != newest {
		t.Errorf("%d lines, the newest %q; want %d, %q", h.Len(), h.At(0), maxHistory, newest)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), "\n"); n != maxHistory || !strings.HasSuffix(string(got), newest+"\n") {
		t.Errorf("%d lines in the file, want %d", n, maxHistory)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, want 0600", mode)
	}
}

// A History whose file can't be read or written works in memory.
func TestHistoryErrors(t *testing.T) {
	t.Parallel()
	h, err := OpenHistory(t.TempDir())
	if err == nil {
		t.Error("OpenHistory of a directory: no error")
	}
	h.Add("ls")
	if h.Len() != 1 || h.Err() != nil {
		t.Errorf("%d lines, %v", h.Len(), h.Err())
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := &History{path: filepath.Join(file, "history")}
	blocked.Add("ls")
	blocked.Add("ls Hub")
	if blocked.Len() != 2 || blocked.Err() == nil {
		t.Errorf("%d lines, %v; want 2 and an error", blocked.Len(), blocked.Err())
	}
}

// A History doesn't read, change or write the target of a symbolic link, even if the link
// replaces the file later.
func TestHistoryFollowsNoLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	const text = "call Secret\n"
	if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err) // Windows allows it to some users only
	}
	h, err := OpenHistory(link)
	if want := link + " is a symbolic link: name the file itself"; err == nil || err.Error() != want || h.Len() > 0 {
		t.Errorf("OpenHistory = %q, %v, want nothing and %s", historyLines(h), err, want)
	}
	later := &History{path: link}
	later.Add("ls")
	if later.Err() == nil {
		t.Error("a line was written through a link")
	}
	dangling := &History{path: filepath.Join(dir, "dangling")}
	missing := filepath.Join(dir, "missing")
	if err := os.Symlink(missing, dangling.path); err != nil {
		t.Fatal(err)
	}
	dangling.Add("ls")
	if _, err := os.Lstat(missing); dangling.Err() == nil || !os.IsNotExist(err) {
		t.Errorf("a file was created through a link: %v, %v", dangling.Err(), err)
	}
	after, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != text || after.Mode() != before.Mode() {
		t.Errorf("the target has %q, mode %v, %v, want %q, mode %v", got, after.Mode(), err, text, before.Mode())
	}
}
