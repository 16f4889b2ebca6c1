package wsmux

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestBurst(t *testing.T) {
	t.Parallel()
	var u burst
	small, large := []byte("abc"), make([]byte, smallWrite)
	if held, _ := u.hold(small, nil); held {
		t.Error("the first write is held")
	}
	u.sent = time.Now().Add(time.Hour) // as if just now, however long this takes
	if held, start := u.hold(small, []byte("d")); !held || !start {
		t.Errorf("hold after a write = %v, %v, want that it is held and a flush starts", held, start)
	}
	if held, start := u.hold(small, nil); !held || start {
		t.Errorf("hold during a flush = %v, %v, want that it is held and no other starts", held, start)
	}
	if held, _ := u.hold(small, large); held {
		t.Error("a large write is held")
	}
	if got := string(u.take(false)); got != "abcdabc" {
		t.Errorf("take = %q", got)
	}
	if got := u.take(true); len(got) > 0 || u.flushing {
		t.Errorf("take = %q, flushing %v, want nothing and the end", got, u.flushing)
	}
	for held := true; held; held, _ = u.hold(large[:smallWrite-1], nil) {
		if len(u.held) > mostHeld {
			t.Fatalf("%d bytes are held", len(u.held))
		}
	}
}

// What is held when the session closes is sent before the Close frame, in order.
func TestCloseSendsWhatIsHeld(t *testing.T) {
	t.Parallel()
	ws, peer := tunneltest.WebSockets(t)
	tr := newTransport(ws)
	tr.frames = newFrameWriter(ws, nil)
	tr.burst.flushing = true // by a goroutine that doesn't come to it
	for _, p := range []string{"a", "b", "c"} {
		if err := tr.send([]byte(p), nil); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = tr.Close()
	}()
	got, err := io.ReadAll(newTransport(peer))
	if err != nil || !bytes.Equal(got, []byte("abc")) {
		t.Errorf("the peer read %q, %v, want abc and the end", got, err)
	}
	<-closed
	<-tr.done
}

// A flush that begins as the session closes leaves what is held to Close.
func TestFlushWhileClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ws, peer := tunneltest.PipedWebSockets(t)
		tr := newTransport(ws)
		tr.frames = newFrameWriter(ws, nil)
		tr.failed = func(err error) error { return err }
		tr.burst.flushing = true
		if err := tr.send([]byte("last"), nil); err != nil {
			t.Fatal(err)
		}
		tr.writing <- struct{}{}
		go tr.flush()
		synctest.Wait() // it is the first to wait for the token
		go func() { _ = tr.Close() }()
		<-tr.closing
		<-tr.writing
		if got, err := io.ReadAll(newTransport(peer)); err != nil || string(got) != "last" {
			t.Errorf("the peer read %q, %v, want last and the end", got, err)
		}
		_ = peer.Close()
		<-tr.done
	})
}
