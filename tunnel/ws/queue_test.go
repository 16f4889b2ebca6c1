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
	if held, _ := q.hold(small, nil); held {
		t.Error("the first write is held")
	}
	q.sent = time.Now().Add(time.Hour) // as if just now, however long this takes
	if held, start := q.hold(small, []byte("d")); !held || !start {
		t.Errorf("hold after a write = %v, %v, want that it is held and a flush starts", held, start)
	}
	if held, start := q.hold(small, nil); !held || start {
		t.Errorf("hold during a flush = %v, %v, want that it is held and no other starts", held, start)
	}
	if start := q.add([]byte("e")); start {
		t.Error("add during a flush starts another")
	}
	if held, _ := q.hold(small, large); held {
		t.Error("a large write is held")
	}
	if got := string(q.take()); got != "abcdabce" {
		t.Errorf("take = %q", got)
	}
	if got := q.takeOrStop(); len(got) > 0 || q.flushing {
		t.Errorf("takeOrStop = %q, flushing %v, want nothing and the end", got, q.flushing)
	}
	if start := q.add([]byte("f")); !start || q.size() != 1 {
		t.Errorf("add starts a flush = %v, with %d bytes queued", start, q.size())
	}
	for held := true; held; held, _ = q.hold(large[:smallWrite-1], nil) {
		if len(q.pending) > maxQueued {
			t.Fatalf("%d bytes are queued", len(q.pending))
		}
	}
}

// Queued bytes are sent before the Close frame, in order.
func TestCloseSendsWhatIsQueued(t *testing.T) {
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
		synctest.Wait() // it is the first to wait for the token
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
			if IsNormalClosure(c.End()) {
				err = nil
			}
			return got.Bytes(), err
		}
	}
}
