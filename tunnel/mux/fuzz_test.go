package mux

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// bytesConn is a connection to a peer that sends the given bytes and closes its
// direction. Write discards.
type bytesConn struct {
	net.Conn // for its addresses and Close
	*bytes.Reader
}

func (c bytesConn) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c bytesConn) Write(p []byte) (int, error) { return len(p), nil }

// frames returns the bytes of frames. The body of a data frame is zeros, at most 1000
// of them.
func frames(headers ...header) (data []byte) {
	for _, h := range headers {
		data = append(data, h[:]...)
		if h.kind() == typeData {
			data = append(data, make([]byte, min(h.length(), 1000))...)
		}
	}
	return data
}

// FuzzReceive sends arbitrary bytes to a session. The session must end at their end
// without a panic, leave no goroutine, and deliver no more bytes than were sent.
func FuzzReceive(f *testing.F) {
	for _, seed := range [][]byte{
		nil,
		[]byte("HTTP/1.1 200 OK\r\n\r\n"),
		frames(newHeader(typeWindowUpdate, flagSYN, 1, 0), newHeader(typeData, 0, 1, 100), newHeader(typeData, flagFIN, 1, 0)),
		frames(newHeader(typeData, flagSYN|flagFIN, 2, 10), newHeader(typeWindowUpdate, flagACK, 2, ^uint32(0)), newHeader(typeWindowUpdate, flagRST, 2, 0)),
		frames(newHeader(typeData, flagSYN|flagRST, 3, 999), newHeader(typeData, 0, 9, 999), newHeader(typeData, flagACK, 1, 3)),
		frames(newHeader(typeData, flagSYN, 1, 2000)),
		frames(newHeader(typeData, flagSYN, 1, initialWindow+1)),
		frames(newHeader(typePing, flagSYN, 0, 1), newHeader(typePing, flagACK, 0, 1), newHeader(typeGoAway, 0, 0, 0), newHeader(typeGoAway, 0, 0, 1)),
		frames(newHeader(typeWindowUpdate, flagFIN, 1, 0), newHeader(typeWindowUpdate, flagFIN, 1, 0)),
		frames(newHeader(typeWindowUpdate, 0, 0, 0)),
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, server bool) {
		role := Client
		if server {
			role = Server
		}
		synctest.Test(t, func(t *testing.T) { receiveBytes(t, data, role) }) // fails if a goroutine is left
	})
}

func receiveBytes(t *testing.T, data []byte, role Role) {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	s := startOurs(t, bytesConn{a, bytes.NewReader(data)}, role, nil)
	delivered := make(chan int64)
	read := func(st *Stream) {
		n, _ := io.Copy(io.Discard, st)
		_ = st.Close()
		delivered <- n
	}
	streams := 0
	if st, err := s.Open(t.Context()); err == nil {
		streams++
		go read(st)
	}
	for {
		st, err := s.Accept()
		if err != nil {
			break
		}
		streams++
		go read(st)
	}
	sum := int64(0)
	for range streams {
		sum += <-delivered
	}
	if sum > int64(len(data)) {
		t.Errorf("%d bytes delivered, want at most the %d sent", sum, len(data))
	}
	<-s.Done() // synctest fails if this blocks
	synctest.Wait()
	if n := s.Stats().Streams; n != 0 || s.unread.Load() != 0 {
		t.Errorf("%d streams after the end of the session, %d bytes of memory, want 0, 0", n, s.unread.Load())
	}
}
