package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A script that waits for the file sees none before it is written for good.
func TestReadyFileAppearsOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	f := &readyFile{path: filepath.Join(dir, "ready")}
	appeared := func() int { // how often, since the last call
		events := make([]byte, 4096)
		n, err := unix.Read(fd, events)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(events[:n]), "ready\x00")
	}
	if err := f.prepare(); err != nil {
		t.Fatal(err)
	}
	if n := appeared(); n != 0 {
		t.Errorf("prepare made the file %d times", n)
	}
	if err := f.write("127.0.0.1:1\n"); err != nil {
		t.Fatal(err)
	}
	if n := appeared(); n != 1 {
		t.Errorf("write made the file %d times", n)
	}
	if err := f.prepare(); err != nil { // another run
		t.Fatal(err)
	}
	if _, err := os.Stat(f.path); !os.IsNotExist(err) {
		t.Errorf("the file of an earlier run: %v, want it removed", err)
	}
}
