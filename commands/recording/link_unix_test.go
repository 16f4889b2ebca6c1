//go:build unix

package recording

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// The file that a link leads to is rotated, and the link stays.
func TestFileLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "r"), filepath.Join(dir, "link")
	if err := os.Symlink("r", link); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), link, testOptions(&tunneltest.Buffer{})); err == nil || !strings.Contains(err.Error(), "is a symbolic link to a file that doesn't exist") {
		t.Errorf("a link to nothing: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		f := create(t, link, testOptions(&tunneltest.Buffer{}))
		_, _ = f.Write(event(i))
		f.Close()
	}
	expect(t, path, "[-1 1]")
	expect(t, path+".1", "[-1 0]")
	if to, err := os.Readlink(link); to != "r" || err != nil {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

// A descriptor isn't replaced, nor is the beginning of its file.
func TestFileDescriptor(t *testing.T) {
	t.Parallel()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	path := fmt.Sprintf("/dev/fd/%d", out.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	_, _ = out.WriteString("before\n")
	f := create(t, path, testOptions(&tunneltest.Buffer{}))
	_, _ = f.Write(event(1))
	f.Close()
	if text, err := os.ReadFile(out.Name()); err != nil || !strings.HasPrefix(string(text), "before\n") {
		t.Errorf("the file has %q, %v", text, err)
	}
	expect(t, out.Name(), "[-1 1]")
}

// An older file in the way is found at the start.
func TestFileOlder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	if err := os.Mkdir(path+".1", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), path, testOptions(&tunneltest.Buffer{})); err == nil || !strings.Contains(err.Error(), "r.1 exists and isn't a file") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the recording has been created")
	}
}

// After the file is removed or renamed, the recording goes on in another one.
func TestFileGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	f := create(t, path, testOptions(&tunneltest.Buffer{}))
	write := func(n int) {
		f.checked = time.Time{}
		_, _ = f.Write(event(n))
	}
	write(1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(2)
	write(3)
	if err := os.Rename(path, path+"-old"); err != nil {
		t.Fatal(err)
	}
	write(4)
	if err := os.Rename(path, path+"-older"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(5)
	f.Close()
	expect(t, path+"-old", "[-2 2 3]")
	expect(t, path+"-older", "[-2 4]")
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the other file has %q, %v", text, err)
	}
}
