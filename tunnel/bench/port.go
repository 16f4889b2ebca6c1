package main

import (
	"context"
	"fmt"
	"net"
	"time"
)

// freePort returns an unused address, for programs that don't print the port that they
// chose.
func freePort(ctx context.Context) (addr, port string, err error) {
	l, err := listenTCP(ctx)
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	return splitPort(l.Addr().String())
}

// splitPort returns addr and its port.
func splitPort(addr string) (_, port string, err error) {
	_, port, err = net.SplitHostPort(addr)
	return addr, port, err
}

// awaitListener waits until addr accepts connections.
func (tb *testbed) awaitListener(ctx context.Context, addr string) error {
	for {
		conn, err := dialTCP(ctx, addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return fmt.Errorf("%w%s", err, tb.stderr())
		}
	}
}
