package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// blockSize is what the load and the server read and write at a time.
const blockSize = 128 * 1024

// The first byte of a connection says what the server is to do. An HTTP/2
// connection begins with a P.
const (
	opUp   = 'u' // read, and report when the time is over
	opDown = 'd' // write until the connection ends
	opEcho = 'e' // send back what comes
	opGRPC = 'P'
)

// runServer is what stands behind every system: one address for gRPC and for
// plain bytes.
func runServer(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 0); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	calls := connListener{addr: l.Addr(), conns: make(chan net.Conn)}
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, callee{})
	go srv.Serve(calls) //nolint:errcheck // ends with the process
	return serveConns(ctx, l, stdin, stdout, func(conn net.Conn) {
		op := make([]byte, 1)
		if _, err := io.ReadFull(conn, op); err != nil {
			_ = conn.Close()
			return
		}
		if op[0] == opGRPC {
			calls.conns <- &begunConn{Conn: conn, begun: op}
			return
		}
		defer conn.Close()
		switch op[0] {
		case opUp:
			sinkAndReport(conn)
		case opDown:
			writeForEver(conn)
		case opEcho:
			_, _ = io.Copy(onlyWriter{conn}, conn)
		}
	})
}

// sinkAndReport reads for as long as the load says, and sends it the outcome.
func sinkAndReport(conn net.Conn) {
	var times [2]int64
	if err := binary.Read(conn, binary.BigEndian, &times); err != nil {
		return
	}
	s, err := sink(conn, time.Duration(times[0]), time.Duration(times[1]))
	if err != nil {
		return
	}
	_ = binary.Write(conn, binary.BigEndian, s)
	_, _ = io.Copy(io.Discard, conn) // what is still under way: to close on it would be a reset
}

// sunk is what has been read from a connection.
type sunk struct {
	All      int64 // bytes
	Measured int64 // those of them after the warm-up
	Took     int64 // nanoseconds for these
}

// stallGrace is how long after its time a measurement waits for another byte.
const stallGrace = 5 * time.Second

// sink reads conn during the warm-up and then for d, and counts. A connection
// that stalls is no error.
func sink(conn net.Conn, warmup, d time.Duration) (s sunk, err error) {
	buf := make([]byte, blockSize)
	started := time.Now()
	var measuring time.Time
	_ = conn.SetReadDeadline(started.Add(warmup + d + stallGrace))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	for {
		n, err := conn.Read(buf)
		s.All += int64(n)
		now := time.Now()
		if !measuring.IsZero() {
			s.Measured += int64(n)
			s.Took = int64(now.Sub(measuring))
		} else if now.Sub(started) >= warmup {
			measuring = now
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return s, nil
		case err != nil:
			return s, err
		case !measuring.IsZero() && now.Sub(measuring) >= d:
			return s, nil
		}
	}
}

func writeForEver(conn net.Conn) {
	block := make([]byte, blockSize)
	for {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

// onlyWriter hides what io.Copy would call instead of Write.
type onlyWriter struct{ io.Writer }

// callee answers a call with what it was given.
type callee struct {
	testpb.UnimplementedTestServiceServer
}

func (callee) UnaryCall(_ context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: req.GetPayload()}, nil
}

// connListener is a listener of connections that somebody else has accepted.
type connListener struct {
	addr  net.Addr
	conns chan net.Conn
}

func (l connListener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (l connListener) Close() error              { return nil }
func (l connListener) Addr() net.Addr            { return l.addr }

// begunConn is a connection of which some bytes have been read.
type begunConn struct {
	net.Conn
	begun []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(p, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
