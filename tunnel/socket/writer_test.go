//go:build unix

package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// TryWrite writes until the buffers are full, and returns errors as Write does.
func TestTryWrite(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w, sent := NewWriter(conn), int64(0)
	for p := make([]byte, 1<<20); ; {
		n, err := w.TryWrite(p)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 { // the buffers are full
			break
		}
		sent += int64(n)
	}
	if _, err := io.CopyN(io.Discard, peer, sent); err != nil {
		t.Error(err)
	}
	_ = peer.(*net.TCPConn).SetLinger(0)
	_ = peer.Close()
	var failed error
	tunneltest.Eventually(t, "the reset arrives", func() bool {
		_, failed = w.TryWrite([]byte("x"))
		return failed != nil
	})
	if _, ok := errors.AsType[*net.OpError](failed); !ok || !errors.Is(failed, syscall.ECONNRESET) && !errors.Is(failed, syscall.EPIPE) {
		t.Errorf("TryWrite = %#v, want a *net.OpError of the reset", failed)
	}
	_ = conn.Close()
	if _, err := w.TryWrite([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("TryWrite after Close = %v, want net.ErrClosed", err)
	}
	if near, _ := net.Pipe(); NewWriter(near) != nil {
		t.Error("a pipe has a Writer")
	}
}
