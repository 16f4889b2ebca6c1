package ws

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// countingConn counts reads and writes.
type countingConn struct {
	net.Conn
	in            []byte
	reads, writes int
}

func (c *countingConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	c.reads++
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

func TestBatchRecords(t *testing.T) {
	t.Parallel()
	const record = 16 * 1024
	socket := &countingConn{in: make([]byte, 3*record)}
	c, ok := BatchRecords(socket).(*recordsConn)
	if !ok || c.hasBuffered() {
		t.Error("hasBuffered before the first Read = true, want false")
	}
	for i := range 3 {
		if _, err := io.ReadFull(c, make([]byte, record)); err != nil {
			t.Fatal(err)
		}
		if more := c.hasBuffered(); more != (i < 2) {
			t.Errorf("hasBuffered after record %d = %v", i+1, more)
		}
	}
	c.beginBatch()
	for range 3 {
		_, _ = c.Write(make([]byte, record))
	}
	if err := c.endBatch(nil); err != nil {
		t.Error(err)
	}
	if socket.reads != 1 || socket.writes != 1 {
		t.Errorf("%d reads and %d writes, want one each", socket.reads, socket.writes)
	}
}

// wrappedConn is a wrapper of a connection.
type wrappedConn struct{ net.Conn }

func (c wrappedConn) NetConn() net.Conn { return c.Conn }

// The records are found below TLS, even if wrappers are above or below it.
func TestRecordsBelow(t *testing.T) {
	t.Parallel()
	records := BatchRecords(&countingConn{})
	secure := tls.Client(wrappedConn{records}, &tls.Config{})
	for _, test := range []struct {
		conn net.Conn
		want net.Conn
	}{
		{secure, records},
		{wrappedConn{wrappedConn{secure}}, records},
		{wrappedConn{tls.Client(&countingConn{}, &tls.Config{})}, (*recordsConn)(nil)},
		{wrappedConn{records}, (*recordsConn)(nil)}, // without TLS
	} {
		if got := recordsBelow(test.conn); got != test.want {
			t.Errorf("recordsBelow(%T) = %v, want %v", test.conn, got, test.want)
		}
	}
}
