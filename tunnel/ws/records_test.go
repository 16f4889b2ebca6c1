package ws

import (
	"io"
	"net"
	"testing"
)

// counter counts what reaches the socket.
type counter struct {
	net.Conn
	in            []byte
	reads, writes int
}

func (c *counter) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	c.reads++
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

func TestBatchRecords(t *testing.T) {
	t.Parallel()
	const record = 16 * 1024
	socket := &counter{in: make([]byte, 3*record)}
	c, ok := BatchRecords(socket).(*recordsConn)
	if !ok || c.readable() {
		t.Error("something is said to have been read ahead")
	}
	for i := range 3 {
		if _, err := io.ReadFull(c, make([]byte, record)); err != nil {
			t.Fatal(err)
		}
		if more := c.readable(); more != (i < 2) {
			t.Errorf("after record %d more is there = %v", i+1, more)
		}
	}
	c.begin()
	for range 3 {
		_, _ = c.Write(make([]byte, record))
	}
	if err := c.end(nil); err != nil {
		t.Error(err)
	}
	if socket.reads != 1 || socket.writes != 1 {
		t.Errorf("%d reads and %d writes, want one each", socket.reads, socket.writes)
	}
}
