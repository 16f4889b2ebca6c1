package recording

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// isDescriptor reports whether path is that of a process's descriptor. Its file must not be
// replaced: the process has it open.
func isDescriptor(path string) bool {
	path = filepath.Clean(path)
	return path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/")
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// createPipe creates a recording in a pipe, a device or a descriptor, which may not have a
// reader, or one that is stuck.
func createPipe(ctx context.Context, path string, opts *FileOptions) (*File, error) {
	type result struct {
		*File
		err error
	}
	created := make(chan result)
	go func() {
		var r result
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		switch {
		case err != nil:
			r.err = err
		case ctx.Err() != nil:
			_ = w.Close()
			return
		default:
			r.File, r.err = NewFile(w, opts)
		}
		select {
		case created <- r:
		case <-ctx.Done():
			if r.err == nil {
				r.Close()
			}
		}
	}()
	select {
	case r := <-created:
		return r.File, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
