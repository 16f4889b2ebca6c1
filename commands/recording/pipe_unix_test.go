//go:build unix

package recording

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A named pipe waits for its reader, or for the end of the context.
func TestNamedPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, path, testOptions(&tunneltest.Buffer{})); !errors.Is(err, context.Canceled) {
		t.Errorf("without a reader: %v, want that the context has ended", err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // which doesn't wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f := create(t, path, testOptions(&tunneltest.Buffer{}))
	_, _ = f.Write(event(1))
	f.Close()
	got := make([]byte, 1000)
	n, err := reader.Read(got)
	if want := string(testOptions(nil).Head(false)); err != nil || string(got[:n]) != want && string(got[:n]) != want+string(event(1)) {
		t.Errorf("read %q, %v", got[:n], err)
	}
	raw, err := reader.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Write(func(fd uintptr) bool {
		for err = nil; err == nil; {
			_, err = syscall.Write(int(fd), make([]byte, 1024))
		}
		return true
	})
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("the pipe isn't full: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Create(soon, path, testOptions(&tunneltest.Buffer{})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a reader that is stuck: %v, want that the context has ended", err)
	}
}
