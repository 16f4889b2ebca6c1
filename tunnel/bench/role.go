package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// measureCommand is the first argument of the process in the network namespace.
const measureCommand = "measure"

// roles are the roles of child processes, by first argument.
var roles = map[string]role{
	"server":        runServer,
	"pair":          runPair,
	"pair-tls-near": runTLSNear,
	"pair-tls-far":  runTLSFar,
	"yamux-near":    runYamuxNear,
	"yamux-far":     runYamuxFar,
	"link":          runLink,
	"load":          runLoad,
	"nats":          runNATS,
}

// role runs a child process until it is done or stdin ends. A server prints its address.
type role func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error

// serveConns prints the address of l, and calls handle in a goroutine for each connection
// until stdin or ctx ends.
func serveConns(ctx context.Context, l net.Listener, stdin io.Reader, stdout io.Writer, handle func(net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	context.AfterFunc(ctx, func() { _ = l.Close() })
	if _, err := fmt.Fprintln(stdout, l.Addr()); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go handle(conn)
	}
}

func listenTCP(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// arguments returns an error unless there are n arguments.
func arguments(args []string, n int) error {
	if len(args) != n {
		return errors.New("only the benchmark itself may start this command")
	}
	return nil
}
