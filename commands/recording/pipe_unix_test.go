//go:build unix

package recording

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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
	if _, err := Create(ctx, path, testOptions(&logBuffer{})); !errors.Is(err, context.Canceled) {
		t.Errorf("without a reader: %v, want that the context has ended", err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // which doesn't wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f := create(t, path, testOptions(&logBuffer{}))
	_, _ = f.Write(event(1))
	f.Close()
	got := make([]byte, 1000)
	n, err := reader.Read(got)
	if want := string(testOptions(nil).Head(false)); err != nil || string(got[:n]) != want && string(got[:n]) != want+string(event(1)) {
		t.Errorf("read %q, %v", got[:n], err)
	}
}
