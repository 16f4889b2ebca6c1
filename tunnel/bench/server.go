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

// blockSize is the buffer size of the load and the server in bytes.
const blockSize = 128 * 1024

// The first byte of a connection is an operation for the server.
const (
	opUp   = 'u' // read for the given time, and report the result
	opDown = 'd' // write until the connection ends
	opEcho = 'e' // echo
	opGRPC = 'P' // the first byte of an HTTP/2 connection
)

// runServer runs the server: one address for gRPC and for the other operations.
func runServer(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 0); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	calls := chanListener{addr: l.Addr(), conns: make(chan net.Conn)}
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, echoService{})
	go srv.Serve(calls) //nolint:errcheck // ends with the process
	return serveConns(ctx, l, stdin, stdout, func(conn net.Conn) {
		op := make([]byte, 1)
		if _, err := io.ReadFull(conn, op); err != nil {
			_ = conn.Close()
			return
		}
		if op[0] == opGRPC {
			calls.conns <- &prefixConn{Conn: conn, prefix: op}
			return
		}
		defer conn.Close()
		switch op[0] {
		case opUp:
			receiveAndReport(conn)
		case opDown:
			writeZeros(conn)
		case opEcho:
			_, _ = io.Copy(onlyWriter{conn}, conn)
		}
	})
}

// receiveAndReport reads for the time that the load requests, and sends it the result.
func receiveAndReport(conn net.Conn) {
	var times [2]int64
	if err := binary.Read(conn, binary.BigEndian, &times); err != nil {
		return
	}
	s, err := receiveFor(conn, time.Duration(times[0]), time.Duration(times[1]))
	if err != nil {
		return
	}
	_ = binary.Write(conn, binary.BigEndian, s)
	_, _ = io.Copy(io.Discard, conn) // closing with unread bytes would be a reset
}

// transfer is the result of receiveFor.
type transfer struct {
	All      int64 // bytes
	Measured int64 // bytes after the warm-up
	Took     int64 // nanoseconds for Measured
}

// stallGrace is how long receiveFor waits for another byte after its time is over.
const stallGrace = 5 * time.Second

// receiveFor reads conn during the warm-up and then for d, and counts the bytes. A
// connection that stalls isn't an error.
func receiveFor(conn net.Conn, warmup, d time.Duration) (s transfer, err error) {
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

// writeZeros writes zeros until an error.
func writeZeros(conn net.Conn) {
	block := make([]byte, blockSize)
	for {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

// onlyWriter hides ReadFrom, which io.Copy would call instead of Write.
type onlyWriter struct{ io.Writer }

// echoService echoes the payload of a call.
type echoService struct {
	testpb.UnimplementedTestServiceServer
}

func (echoService) UnaryCall(_ context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: req.GetPayload()}, nil
}

// chanListener is a listener that returns connections from a channel.
type chanListener struct {
	addr  net.Addr
	conns chan net.Conn
}

func (l chanListener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (l chanListener) Close() error              { return nil }
func (l chanListener) Addr() net.Addr            { return l.addr }

// prefixConn is a connection whose first bytes have already been read.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
