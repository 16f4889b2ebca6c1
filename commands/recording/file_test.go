package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// testOptions returns options whose log goes to log.
func testOptions(log *tunneltest.Buffer) *FileOptions {
	return &FileOptions{
		Keep: 2, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Head: func(continued bool) []byte {
			l := NewHeader("test", time.Unix(0, 0))
			l.Continued = continued
			return l.Append(nil)
		},
	}
}

func create(t *testing.T, path string, opts *FileOptions) *File {
	t.Helper()
	f, err := Create(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// event returns a line with a number.
func event(n int) []byte {
	l := New("client_half_close", time.Unix(0, 0))
	l.Call = uint64(n)
	return l.Append(nil)
}

// calls returns the numbers in the lines of a file, -1 for a header, and -2 for that of a
// continued recording.
func calls(t *testing.T, path string) (numbers []int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := NewReader(f); ; {
		l, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return numbers
		case err != nil:
			t.Fatal(err)
		case l.Continued:
			numbers = append(numbers, -2)
		case l.Event == HeaderLine:
			numbers = append(numbers, -1)
		default:
			numbers = append(numbers, int(l.Call))
		}
	}
}

func expect(t *testing.T, path, want string) {
	t.Helper()
	if got := fmt.Sprint(calls(t, path)); got != want {
		t.Errorf("%s has %s, want %s", filepath.Base(path), got, want)
	}
}

// A recording that is there becomes an older one, and the oldest is removed. One without
// events isn't kept.
func TestFileExists(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	for i := range 5 {
		f := create(t, path, testOptions(&tunneltest.Buffer{}))
		_, _ = f.Write(event(i))
		f.Close()
		create(t, path, testOptions(&tunneltest.Buffer{})).Close()
	}
	expect(t, path, "[-1]")
	expect(t, path+".1", "[-1 4]")
	expect(t, path+".2", "[-1 3]")
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("a third older file is kept")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

// Files that aren't recordings aren't touched, wherever they are in the way.
func TestFileRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(`{"event":"precious"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	recorded := filepath.Join(dir, "recorded")
	f := create(t, recorded, testOptions(&tunneltest.Buffer{}))
	_, _ = f.Write(event(1))
	f.Close()
	for want, path := range map[string]string{
		"exists and isn't a recording of wstun":   foreign("other"),
		"recorded.1 exists and isn't a recording": strings.TrimSuffix(foreign("recorded.1"), ".1"),
		" is a folder": dir,
		filepath.Join("none", "r") + ": no such fi": filepath.Join(dir, "none", "r"),
	} {
		_, err := Create(t.Context(), path, testOptions(&tunneltest.Buffer{}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	expect(t, recorded, "[-1 1]")
	if text, err := os.ReadFile(filepath.Join(dir, "other")); err != nil || string(text) != `{"event":"precious"}` {
		t.Errorf("the other file has %q, %v", text, err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	create(t, empty, testOptions(&tunneltest.Buffer{})).Close()
	if info, err := os.Stat(empty); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("an empty file: mode %v, %v, want 0600", info.Mode(), err)
	}
}

// A full file is rotated, and each file has a header.
func TestFileRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	opts := testOptions(&tunneltest.Buffer{})
	opts.Max = int64(2 * len(event(1))) // the head isn't counted
	f := create(t, path, opts)
	for i := range 7 {
		if n, err := f.Write(event(i)); n != len(event(i)) || err != nil {
			t.Fatal(n, err)
		}
	}
	f.Close()
	expect(t, path, "[-2 6]")
	expect(t, path+".1", "[-2 4 5]")
	expect(t, path+".2", "[-2 2 3]")
}

// The name of a file that is rotated may be in use by then: nothing is overwritten, lines
// are counted meanwhile, and later ones are written.
func TestFileRotationFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	log := &tunneltest.Buffer{}
	opts := testOptions(log)
	opts.Max = 1
	f := create(t, path, opts)
	_, _ = f.Write(event(1))
	if err := os.WriteFile(path+".1", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := f.Write(event(2)); n != 0 || err == nil {
			t.Fatal(n, err)
		}
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(event(3)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	expect(t, path, "[-2 3]")
	expect(t, path+".1", "[-1 1]")
	text := log.String()
	if strings.Count(text, "not recorded") != 1 || !strings.Contains(text, "r.1 exists and isn't a recording of wstun") || !strings.Contains(text, `msg="recording again" lost_lines=3`) || !strings.Contains(text, `msg="the recording has gaps" lost_lines=3`) {
		t.Errorf("log: %s", text)
	}
}

// Another process doesn't rotate a file that is being written.
func TestFileInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	f := create(t, path, testOptions(&tunneltest.Buffer{}))
	defer f.Close()
	if _, err := Create(t.Context(), path, testOptions(&tunneltest.Buffer{})); err == nil || !strings.Contains(err.Error(), "is the recording of a wstun that is running") {
		t.Errorf("a second recording: %v", err)
	}
	_, _ = f.Write(event(1))
	expect(t, path, "[-1 1]")
}

// shortWriter is a pipe that fails in the middle of a write.
type shortWriter struct {
	bytes.Buffer
	room int
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n, _ := w.Buffer.Write(p[:min(len(p), w.room)])
	w.room -= n
	if n < len(p) {
		return n, errors.New("pipe is full")
	}
	return n, nil
}

func (*shortWriter) Close() error { return nil }

// After a failure, a recording has its head again. Of a line of a pipe, a part may have been
// written; it doesn't spoil the next one.
func TestPipe(t *testing.T) {
	t.Parallel()
	log := &tunneltest.Buffer{}
	w := &shortWriter{room: 1000}
	f, err := NewFile(w, testOptions(log))
	if err != nil {
		t.Fatal(err)
	}
	w.room = len(event(1)) + 10
	_, _ = f.Write(event(1))
	if _, err := f.Write(event(2)); err == nil {
		t.Fatal("no error")
	}
	w.room = 1000
	_, _ = f.Write(event(3))
	f.Close()
	path := filepath.Join(t.TempDir(), "r")
	if err := os.WriteFile(path, w.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, path, "[-1 1 -2 3]")
}
