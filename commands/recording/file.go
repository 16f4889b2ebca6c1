package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/wstun/wstun/commands/usage"
)

// FileOptions adjusts a File.
type FileOptions struct {
	Max  int64 // the size in bytes, without the head, beyond which another file is begun; 0: none
	Keep int   // how many older files are kept: PATH.1, the newest one, to PATH.N

	// Head returns the lines with which a file begins: a HeaderLine, which has continued,
	// and the schema so far. It is called for each file, and after lines were
	// lost.
	Head func(continued bool) []byte

	Pcapng *Pcapng // converts the lines; nil: they are written as they are
	Logger *slog.Logger
}

// File is a recording that is being written. Its methods are called by one goroutine at a
// time.
type File struct {
	path string // empty: it isn't a regular file
	opts FileOptions
	w    io.WriteCloser // nil: the file must be created again
	size int64          // of the current file

	info    os.FileInfo // of the file at path
	checked time.Time   // when it was still there

	headless  bool   // the head is due
	headSize  int64  // of the one at the beginning
	hasLines  bool   // the file has more than its head
	torn      string // the end of a part of a line that a pipe has
	continued bool
	failure   failure
}

// Create creates a recording at path, with mode 0600, and writes its head. A recording that
// is there becomes PATH.1, unless it is empty. If somebody removes or renames the file, another
// one is begun within a second.
//
// path may also be a device, or a pipe, for which Create waits until it has a reader and room for
// the head, or ctx ends. A descriptor such as /dev/stdout is written as it is, whatever file it
// has. The caller closes the File.
//
// The error is a *usage.Error if there is another file, at PATH.1 too, or another process
// writes this one.
func Create(ctx context.Context, path string, opts *FileOptions) (*File, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, usage.Errorf("%s is a folder", path)
	case err == nil && (!info.Mode().IsRegular() || isDescriptor(path)):
		return createPipe(ctx, path, opts)
	case err == nil:
		if path, err = filepath.EvalSymlinks(path); err != nil { // a link stays one
			return nil, err
		}
	case isLink(path):
		return nil, usage.Errorf("%s is a symbolic link to a file that doesn't exist", path)
	}
	if err := inspectOlder(path, opts.Keep); err != nil {
		return nil, err
	}
	r := newFile(opts)
	r.path = path
	if err := r.next(); err != nil {
		return nil, err
	}
	if err := r.writeHead(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// NewFile returns a recording that is written to w, such as standard output, and writes its
// head.
func NewFile(w io.WriteCloser, opts *FileOptions) (*File, error) {
	r := newFile(opts)
	r.w = w
	if err := r.writeHead(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func newFile(opts *FileOptions) *File {
	return &File{opts: *opts, headless: true, failure: failure{logger: opts.Logger}}
}

// Write writes whole lines, and returns how many bytes of them are in the file. If it fails,
// later lines may be written again. The failure is logged, at most once a minute, and so is
// its end.
func (r *File) Write(lines []byte) (n int, err error) {
	for n < len(lines) && err == nil {
		part := r.fitting(lines[n:])
		if len(part) == 0 {
			err = r.next()
		} else if err = r.write(part); err == nil {
			n += len(part)
		}
	}
	r.failure.report(err, bytes.Count(lines[n:], []byte("\n")))
	return n, err
}

// fitting returns the first lines, as many as the file has room for. An empty file has room
// for any line.
func (r *File) fitting(lines []byte) []byte {
	room := r.opts.Max - (r.size - r.headSize) // a large schema would fill each file
	if r.opts.Max == 0 || r.path == "" || int64(len(lines)) <= room {
		return lines
	}
	if end := bytes.LastIndexByte(lines[:max(0, room)], '\n'); end >= 0 || r.hasLines {
		return lines[:end+1]
	}
	return lines[:bytes.IndexByte(lines, '\n')+1]
}

// write writes lines, and before them the head if it is due, or nothing.
func (r *File) write(lines []byte) error {
	if r.isGone() {
		_ = r.w.Close()
		r.w, r.continued = nil, true
	}
	if r.w == nil {
		if err := r.next(); err != nil {
			return err
		}
	}
	size := r.size
	err := r.writeHead()
	if err == nil {
		if r.opts.Pcapng != nil {
			lines = r.opts.Pcapng.Append(nil, lines)
		}
		err = r.put(lines)
	}
	if err != nil {
		return r.undo(size, err)
	}
	r.hasLines = true
	return nil
}

// isGone reports whether somebody has removed or renamed the file, at most a second later.
func (r *File) isGone() bool {
	const interval = time.Second
	if r.info == nil || r.w == nil || time.Since(r.checked) < interval {
		return false
	}
	r.checked = time.Now()
	info, err := os.Stat(r.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, r.info)
}

// writeHead writes the head, if it is due.
func (r *File) writeHead() error {
	if !r.headless {
		return nil
	}
	var head []byte
	switch {
	case r.opts.Pcapng == nil:
		head = append(head, r.torn...)
		head = append(head, r.opts.Head(r.continued)...)
	case r.size == 0:
		head = r.opts.Pcapng.Start(nil)
	default:
		r.opts.Pcapng.restart()
	}
	if r.size == 0 {
		r.headSize = int64(len(head))
	}
	r.headless, r.torn = false, ""
	return r.put(head)
}

func (r *File) put(p []byte) error {
	n, err := r.w.Write(p)
	r.size += int64(n)
	return err
}

// undo cuts the file to its size before a failed write, and returns the error. The next
// write begins with the head, because lost lines may have had descriptors.
func (r *File) undo(size int64, err error) error {
	r.headless, r.continued = true, r.continued || size > 0
	f, ok := r.w.(*os.File)
	if !ok || r.path == "" {
		r.torn = "\n"
		return err
	}
	r.size = size
	_, serr := f.Seek(size, io.SeekStart)
	return errors.Join(err, f.Truncate(size), serr)
}

// next begins the next file at path.
func (r *File) next() error {
	if r.w != nil {
		_ = r.w.Close() // the system has all that was written
		r.w, r.continued = nil, true
	}
	if err := moveAway(r.path, 0, r.opts.Keep); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = lock(f) // nobody else knows the file yet
	r.info, _ = f.Stat()
	r.checked = time.Now()
	r.w, r.size, r.headSize, r.headless, r.hasLines = f, 0, 0, true, false
	return nil
}

// Close closes the file. If lines were lost, it logs how many.
func (r *File) Close() {
	if r.w != nil {
		_ = r.w.Close()
	}
	r.failure.close()
}

// IsPipe reports whether the recording isn't a regular file.
func (r *File) IsPipe() bool { return r.path == "" }

// numbered returns the path of the nth older file, of the current one for 0.
func numbered(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// moveAway renames the nth older file at path, and before that the older ones, to keep them,
// or removes it. If one of them isn't a recording, it does nothing.
func moveAway(path string, n, keep int) error {
	name := numbered(path, n)
	isEmpty, err := inspect(name, n == 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case isEmpty || n >= keep:
		return os.Remove(name)
	}
	if err := moveAway(path, n+1, keep); err != nil {
		return err
	}
	return os.Rename(name, numbered(path, n+1))
}

// inspectOlder returns an error if an older file at path isn't a recording, so that it is
// found at the start, and not when the first file is full.
func inspectOlder(path string, keep int) error {
	for n := 1; n <= keep; n++ {
		_, err := inspect(numbered(path, n), false)
		if errors.Is(err, fs.ErrNotExist) {
			break // later ones aren't renamed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// beginning is that of each HeaderLine.
const beginning = `{"event":"` + HeaderLine + `"`

// inspect returns an error unless the file is a recording, and, if it is locked by nobody
// else, whether it is empty.
func inspect(name string, mayBeInUse bool) (isEmpty bool, err error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return false, &usage.Error{Err: fmt.Errorf("%s exists and isn't a file", name), Advice: "choose another file for the recording, or move it away"}
	}
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if mayBeInUse && errors.Is(lock(f), errLocked) {
		return false, usage.Errorf("%s is the recording of a wstun that is running", name)
	}
	const longest = 4 << 10 // of a header
	head, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return false, err
	}
	if len(head) > 0 && !bytes.HasPrefix(head, []byte(beginning)) && !isPcapng(head) {
		return false, &usage.Error{Err: fmt.Errorf("%s exists and isn't a recording of wstun", name), Advice: "choose another file, or move it away"}
	}
	isHeader := bytes.HasPrefix(head, []byte(beginning)) && bytes.IndexByte(head, '\n') == len(head)-1
	return len(head) == 0 || isHeader, nil
}

// failure logs failures to write.
type failure struct {
	logger *slog.Logger
	logged time.Time // the latest warning
	warned bool      // … is about the current failure
	lines  int       // lost by the current failure
	total  int       // lost by all
}

// report handles the result of a write by which a number of lines were lost.
func (f *failure) report(err error, lines int) {
	const interval = time.Minute
	if err == nil {
		if f.warned {
			f.logger.Info("recording again", slog.Int("lost_lines", f.lines))
		}
		f.warned, f.lines = false, 0
		return
	}
	f.lines += lines
	f.total += lines
	if now := time.Now(); now.Sub(f.logged) >= interval {
		f.logged, f.warned = now, true
		f.logger.Warn("not recorded", slog.Any("err", err), slog.Int("lost_lines", f.lines))
	}
}

func (f *failure) close() {
	if f.total > 0 {
		f.logger.Warn("the recording has gaps", slog.Int("lost_lines", f.total))
	}
}

var errLocked = errors.New("locked by another process")
