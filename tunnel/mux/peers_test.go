package mux

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// endpoint is one end of a session, of this package or of hashicorp/yamux.
type endpoint interface {
	open(ctx context.Context) (testStream, error)
	accept() (testStream, error)
	goAway()
	ping(ctx context.Context) error
	close()
	done() <-chan struct{}
	streams() int
}

// testStream is a stream of an endpoint.
type testStream interface {
	io.ReadWriter
	CloseWrite() error
	Close() error
	SetDeadline(t time.Time) error
	reset() bool // false: not supported
}

type ourSession struct{ *Session }

type ourStream struct{ *Stream }

func (s ourStream) reset() bool {
	_ = s.Reset()
	return true
}

func (e ourSession) open(ctx context.Context) (testStream, error) {
	st, err := e.Open(ctx)
	return ourStream{st}, err
}

func (e ourSession) accept() (testStream, error) {
	st, err := e.Accept()
	return ourStream{st}, err
}

func (e ourSession) goAway()               { _ = e.GoAway() }
func (e ourSession) close()                { _ = e.Close() }
func (e ourSession) done() <-chan struct{} { return e.Done() }
func (e ourSession) streams() int          { return e.Stats().Streams }

func (e ourSession) ping(ctx context.Context) error {
	_, err := e.Ping(ctx)
	return err
}

type hashicorpSession struct{ *yamux.Session }

type hashicorpStream struct {
	*yamux.Stream
	readEnd chan struct{} // closed by Close and by the first error of Read
	endRead func()        // closes it
}

func newHashicorpStream(st *yamux.Stream) hashicorpStream {
	readEnd := make(chan struct{})
	return hashicorpStream{st, readEnd, sync.OnceFunc(func() { close(readEnd) })}
}

// losesAfterCloseWrite reports whether the linked hashicorp/yamux has the bug of
// v0.1.1: after Close, Read returns io.EOF whenever no bytes are buffered.
var losesAfterCloseWrite = sync.OnceValue(func() bool {
	a, b := net.Pipe()
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	client, err := yamux.Client(a, config)
	if err != nil {
		return false
	}
	defer client.Close()
	server, err := yamux.Server(b, config)
	if err != nil {
		return false
	}
	defer server.Close()
	st, err := client.OpenStream()
	if err != nil {
		return false
	}
	_ = st.Close()
	_ = st.SetReadDeadline(time.Unix(1, 0))
	_, err = st.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
})

// CloseWrite closes this end's direction. If Read would lose bytes afterwards, it
// first waits until reading has ended.
func (s hashicorpStream) CloseWrite() error {
	if losesAfterCloseWrite() {
		<-s.readEnd
	}
	return s.Stream.Close()
}

func (s hashicorpStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err != nil {
		s.endRead()
	}
	return n, err
}

func (s hashicorpStream) reset() bool { return false }

// Close also makes a pending Read return, unlike hashicorp's Close.
func (s hashicorpStream) Close() error {
	s.endRead()
	err := s.Stream.Close()
	_ = s.SetReadDeadline(time.Unix(1, 0))
	return err
}

func (e hashicorpSession) open(context.Context) (testStream, error) {
	st, err := e.OpenStream()
	return newHashicorpStream(st), err
}

func (e hashicorpSession) accept() (testStream, error) {
	st, err := e.AcceptStream()
	return newHashicorpStream(st), err
}

func (e hashicorpSession) goAway()               { _ = e.GoAway() }
func (e hashicorpSession) close()                { _ = e.Close() }
func (e hashicorpSession) done() <-chan struct{} { return e.CloseChan() }
func (e hashicorpSession) streams() int          { return e.NumStreams() }

func (e hashicorpSession) ping(context.Context) error {
	_, err := e.Ping()
	return err
}

func startHashicorp(tb testing.TB, conn net.Conn, role Role, window uint32) *yamux.Session {
	tb.Helper()
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.MaxStreamWindowSize = max(window, initialWindow)
	config.LogOutput = io.Discard
	start := yamux.Client
	if role == Server {
		start = yamux.Server
	}
	s, err := start(conn, config)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func startOurs(tb testing.TB, conn net.Conn, role Role, opts *Options) *Session {
	tb.Helper()
	s, err := New(newTransport(conn), role, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// sessionPair returns the two ends of a session of this package.
func sessionPair(tb testing.TB, opts *Options) (client, server *Session) {
	tb.Helper()
	a, b := tcpPair(tb)
	return startOurs(tb, a, Client, opts), startOurs(tb, b, Server, opts)
}

// streamPair opens a stream and accepts it at the other end.
func streamPair(tb testing.TB, from, to *Session) (opened, accepted *Stream) {
	tb.Helper()
	opened, err := from.Open(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	accepted, err = to.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return opened, accepted
}

// choppedConn returns random numbers of bytes from Read.
type choppedConn struct {
	net.Conn
	mu  sync.Mutex
	rng *rand.Rand
}

func (c *choppedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.Conn.Read(p[:c.size(len(p))])
}

func (c *choppedConn) size(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.rng.IntN(4) {
	case 0:
		return 1 + c.rng.IntN(min(n, 13))
	case 1:
		return 1 + c.rng.IntN(n)
	}
	return n
}
