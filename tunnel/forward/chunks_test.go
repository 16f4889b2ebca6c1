package forward

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// sizedReader is a chunkReader whose source has so many bytes ready at a time.
type sizedReader struct{ ready []int }

func (r *sizedReader) read(size int) (*[maxChunk]byte, int, error) {
	if len(r.ready) == 0 {
		return nil, 0, io.EOF
	}
	n := min(r.ready[0], size)
	if r.ready[0] -= n; r.ready[0] == 0 {
		r.ready = r.ready[1:]
	}
	return getBuffer(), n, nil
}

func TestCopyChunks(t *testing.T) {
	t.Parallel()
	const kib = 1024
	tests := []struct {
		name  string
		takes time.Duration
		in    []int
		want  []int
	}{
		{"quick", 0, []int{10, 1000 * kib, 10}, []int{10, 16 * kib, 32 * kib, 64 * kib, 128 * kib, 256 * kib, 256 * kib, 248 * kib, 10}},
		{"neither", 2 * quickWrite, []int{40 * kib}, []int{16 * kib, 16 * kib, 8 * kib}},
		{"slow", slowWrite, []int{10, 40 * kib}, []int{10, 8 * kib, 4 * kib, 4 * kib, 4 * kib, 4 * kib, 4 * kib, 4 * kib, 4 * kib, 4 * kib}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []int
				err := copyChunks(writerFunc(func(p []byte) (int, error) {
					got = append(got, len(p))
					<-time.After(tt.takes)
					return len(p), nil
				}), &sizedReader{tt.in})
				if err != nil || !slices.Equal(got, tt.want) {
					t.Errorf("chunks of %v, %v, want %v", got, err, tt.want)
				}
			})
		})
	}
	failure := errors.New("failure")
	fails := writerFunc(func([]byte) (int, error) { return 0, failure })
	if err := copyChunks(fails, &sizedReader{[]int{1}}); !errors.Is(err, failure) {
		t.Errorf("copyChunks = %v, want the writer's error", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Each kind of chunkReader reads a connection to its end, and returns a buffer only
// with data.
func TestChunkReaders(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*testing.T) (near, far net.Conn){
		"tcp": func(t *testing.T) (near, far net.Conn) { t.Helper(); return socketPair(t, "tcp", "127.0.0.1:0") },
		"unix": func(t *testing.T) (near, far net.Conn) {
			t.Helper()
			return socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
		},
		"pipe": func(*testing.T) (near, far net.Conn) { return net.Pipe() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := connect(t)
			defer near.Close()
			defer far.Close()
			r := newChunkReader(near)
			type result struct {
				text string
				err  error
			}
			results := make(chan result)
			go func() {
				for {
					buf, n, err := r.read(4)
					if (n > 0) != (buf != nil && err == nil) {
						t.Errorf("read = %d bytes with a buffer %v, %v", n, buf != nil, err)
					}
					var text string
					if buf != nil {
						text = string(buf[:n])
						buffers.Put(buf)
					}
					results <- result{text, err}
					if err != nil {
						return
					}
				}
			}()
			go func() {
				_, _ = io.WriteString(far, "hello")
				if _, ok := far.(interface{ CloseWrite() error }); ok {
					_ = newSocketEndpoint(far).CloseWrite()
				} else {
					_ = far.Close()
				}
			}()
			var got string
			for {
				r := tunneltest.Await(t, "read", results)
				got += r.text
				if r.err != nil {
					if !errors.Is(r.err, io.EOF) || got != "hello" {
						t.Errorf("read %q, %v, want hello, io.EOF", got, r.err)
					}
					return
				}
			}
		})
	}
}

func TestSocketReaderEndsWithItsDeadline(t *testing.T) {
	t.Parallel()
	near, _ := socketPair(t, "tcp", "127.0.0.1:0")
	_ = near.SetReadDeadline(time.Unix(1, 0))
	_, n, err := newChunkReader(near).read(1)
	if ne, ok := errors.AsType[net.Error](err); n != 0 || !ok || !ne.Timeout() {
		t.Errorf("read = %d, %v, want a timeout", n, err)
	}
}

// socketPair returns the two ends of a connection.
func socketPair(tb testing.TB, network, addr string) (near, far net.Conn) {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	near, err = new(net.Dialer).DialContext(tb.Context(), network, l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = near.Close() })
	far, err = l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = far.Close() })
	return near, far
}
