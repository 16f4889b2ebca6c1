package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Queued and written frames are sent in the order of the calls.
func TestTransportOrder(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	tr := newTransport(a)
	var want bytes.Buffer
	for i := range 1000 {
		p := bytes.Repeat([]byte{byte(i)}, 1+i%20)
		want.Write(p)
		if i%3 != 0 {
			tr.QueueFrame(p)
		} else if err := tr.WriteFrame(p[:1], p[1:]); err != nil {
			t.Fatal(err)
		}
	}
	tr.Close(nil)
	if got, err := io.ReadAll(b); !bytes.Equal(got, want.Bytes()) || err != nil {
		t.Errorf("%d bytes arrive, %v, want %d in order", len(got), err, want.Len())
	}
}

// QueueFrame doesn't block, and copies the header.
func TestTransportQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		tr := newTransport(a)
		header := []byte("first")
		tr.QueueFrame(header)
		synctest.Wait() // the flush blocks
		for range 100 {
			copy(header, "again")
			tr.QueueFrame(header)
		}
		copy(header, "wrong")
		if n := tr.Queued(); n != 500 {
			t.Errorf("Queued() = %d, want 500", n)
		}
		mustRead(t, b, "first")
		for range 100 {
			mustRead(t, b, "again")
		}
		synctest.Wait()
		if n := tr.Queued(); n != 0 {
			t.Errorf("Queued() = %d, want 0", n)
		}
		tr.Close(nil)
	})
}

// Close sends the queue to a peer that reads, and gives up on one that doesn't.
func TestTransportClose(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			tr := newTransport(a)
			failed := make(chan error, 1)
			if !reads {
				go func() { failed <- tr.WriteFrame([]byte("header"), []byte("body")) }()
				synctest.Wait()
			}
			tr.QueueFrame([]byte("queued"))
			start, want := time.Now(), closeWait
			if reads {
				want = 0
				go mustReadAll(t, b, "queued")
			}
			tr.Close(nil)
			tr.Close(nil)
			if took := time.Since(start); took != want {
				t.Errorf("Close took %v with a peer that reads: %v, want %v", took, reads, want)
			}
			if !reads {
				if err := <-failed; err == nil {
					t.Error("WriteFrame = nil after Close, want an error")
				}
			}
			if _, err := tr.Read(make([]byte, 1)); err == nil {
				t.Error("Read = nil after Close, want an error")
			}
			tr.QueueFrame([]byte("late"))
		})
	}
}

func mustReadAll(t *testing.T, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); string(got) != want || err != nil {
		t.Errorf("ReadAll = %q, %v, want %q", got, err, want)
	}
}

// failingConn fails to write.
type failingConn struct{ net.Conn }

var errWrite = errors.New("failure")

func (failingConn) Write([]byte) (int, error) { return 0, errWrite }

// A write error is final, and makes Read return an error at once.
func TestTransportWriteError(t *testing.T) {
	t.Parallel()
	a, _ := net.Pipe()
	tr := newTransport(failingConn{a})
	for range 2 {
		if err := tr.WriteFrame([]byte("header"), nil); !errors.Is(err, errWrite) {
			t.Errorf("WriteFrame = %v, want %v", err, errWrite)
		}
	}
	if _, err := tr.Read(make([]byte, 1)); err == nil {
		t.Error("Read = nil after a write error, want an error")
	}
}

// A write error of the connection ends the session and fails Stream.Write.
func TestSessionWriteError(t *testing.T) {
	t.Parallel()
	a, _ := net.Pipe()
	s := startOurs(t, failingConn{a}, Client, nil)
	if st, err := s.Open(t.Context()); err == nil {
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("Write = nil, want an error")
		}
	}
	if err := waitErr(t, s); err == nil {
		t.Error("Err() = nil, want an error")
	}
}
