package ws

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	var q queue
	small, large := []byte("abc"), make([]byte, smallWrite)
	if added, _ := q.tryAdd(small, nil); added {
		t.Error("tryAdd of the first write = true, want false")
	}
	q.sent = time.Now().Add(time.Hour) // keeps the burst going, however slow this test is
	if added, start := q.tryAdd(small, []byte("d")); !added || !start {
		t.Errorf("tryAdd after a write = %v, %v, want true, true", added, start)
	}
	if added, start := q.tryAdd(small, nil); !added || start {
		t.Errorf("tryAdd during a flush = %v, %v, want true, false", added, start)
	}
	if start := q.add([]byte("e")); start {
		t.Error("add during a flush = true, want false")
	}
	if added, _ := q.tryAdd(small, large); added {
		t.Error("tryAdd of a large write = true, want false")
	}
	if got := string(q.take()); got != "abcdabce" {
		t.Errorf("take = %q", got)
	}
	if got := q.takeOrStop(); len(got) > 0 || q.flushing {
		t.Errorf("takeOrStop = %q, flushing = %v, want an empty result and false", got, q.flushing)
	}
	if start := q.add([]byte("f")); !start || q.size() != 1 {
		t.Errorf("add = %v with %d bytes queued, want true and 1", start, q.size())
	}
	for added := true; added; added, _ = q.tryAdd(large[:smallWrite-1], nil) {
		if len(q.pending) > maxQueued {
			t.Fatalf("%d bytes are queued", len(q.pending))
		}
	}
}

// Queued bytes are sent before the Close frame, in order.
func TestCloseSendsQueue(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	c := Take(dialed, Dialing, nil)
	c.queue.flushing = true // by a goroutine that never runs
	for _, p := range []string{"a", "b", "c"} {
		if err := c.WriteFrame([]byte(p), nil); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.CloseWith(websocket.CloseNormalClosure, "")
	}()
	got, err := readAll(Take(accepted, Accepting, nil))
	if err != nil || !bytes.Equal(got, []byte("abc")) {
		t.Errorf("the peer read %q, %v, want abc and the end", got, err)
	}
	<-closed
	<-c.Done()
}

// A flush that begins as the connection closes leaves the queue to Close.
func TestFlushWhileClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dialed, accepted := tunneltest.PipedWebSockets(t)
		c := Take(dialed, Dialing, nil)
		c.queue.flushing = true
		if err := c.WriteFrame([]byte("last"), nil); err != nil {
			t.Fatal(err)
		}
		c.writing <- struct{}{}
		go c.flush()
		synctest.Wait() // flush waits for the token before CloseWith does
		go c.CloseWith(websocket.CloseNormalClosure, "")
		<-c.closing
		<-c.writing
		if got, err := readAll(Take(accepted, Accepting, nil)); err != nil || string(got) != "last" {
			t.Errorf("the peer read %q, %v, want last and the end", got, err)
		}
		_ = accepted.Close()
		<-c.Done()
	})
}

// readAll reads up to a normal closure.
func readAll(c *Conn) ([]byte, error) {
	var got bytes.Buffer
	for p := make([]byte, 1000); ; {
		n, err := c.Read(p)
		got.Write(p[:n])
		if err != nil {
			if isNormalClosure(c.End()) {
				err = nil
			}
			return got.Bytes(), err
		}
	}
}
