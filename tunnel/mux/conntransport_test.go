package mux

import (
	"net"
	"sync"
	"time"
)

// closeWait bounds how long connTransport.Close spends on sending the queue.
const closeWait = 200 * time.Millisecond

// newTransport returns a transport on conn, whose Read and Write must return when it
// is closed. It has no timeout: while the peer reads nothing, Stream.Write blocks
// until the session is closed.
func newTransport(conn net.Conn) Transport {
	return &connTransport{Conn: conn, writing: make(chan struct{}, 1)}
}

type connTransport struct {
	net.Conn
	closing sync.Once

	writing chan struct{} // holds a token during a write; guards err
	err     error         // the first write error, which is final

	mu       sync.Mutex
	queue    []byte
	flushing bool // a goroutine is sending the queue
}

func (t *connTransport) WriteFrame(header, body []byte) error {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	return t.write(header, body)
}

// write sends the queue and then a frame. The caller holds the token of writing.
func (t *connTransport) write(header, body []byte) error {
	t.mu.Lock()
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	buffers := make(net.Buffers, 0, 3)
	for _, p := range [][]byte{queue, header, body} {
		if len(p) > 0 { // on a net.Pipe, an empty Write waits for a Read
			buffers = append(buffers, p)
		}
	}
	if _, t.err = buffers.WriteTo(t.Conn); t.err != nil {
		_ = t.Conn.Close() // so that Read fails
	}
	return t.err
}

func (*connTransport) TryWriteFrame([]byte, []byte) bool { return false }

func (t *connTransport) QueueFrame(header []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, header...)
	if !t.flushing {
		t.flushing = true
		go t.flush()
	}
}

func (t *connTransport) flush() {
	for {
		err := t.WriteFrame(nil, nil)
		t.mu.Lock()
		if len(t.queue) == 0 || err != nil {
			t.flushing = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
	}
}

func (t *connTransport) Queued() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue)
}

func (t *connTransport) Close(error) {
	t.closing.Do(func() {
		timer := time.AfterFunc(closeWait, func() { _ = t.Conn.Close() })
		defer timer.Stop()
		_ = t.WriteFrame(nil, nil)
		_ = t.Conn.Close()
	})
}
