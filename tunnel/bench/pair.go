package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// copySize is the buffer size of copyHalf in bytes.
const copySize = 64 * 1024

// runPair runs one process of the pair. Its argument is the address to connect to.
func runPair(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 1); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	return proxyTo(ctx, l, stdin, stdout, func() (net.Conn, error) { return dialTCP(ctx, args[0]) })
}

// runTLSFar runs the far process of pair-tls, which accepts TLS. Its arguments are the
// address to connect to, and the files of a certificate and its key.
func runTLSFar(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 3); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(args[1], args[2])
	if err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	return proxyTo(ctx, l, stdin, stdout, func() (net.Conn, error) { return dialTCP(ctx, args[0]) })
}

// runTLSNear runs the near process of pair-tls, which dials TLS. Its arguments are the
// address to connect to, and the file of a certificate to trust.
func runTLSNear(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 2); err != nil {
		return err
	}
	pem, err := os.ReadFile(args[1]) //nolint:gosec // the benchmark made it
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate", args[1])
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	return proxyTo(ctx, l, stdin, stdout, func() (net.Conn, error) { return dialer.DialContext(ctx, "tcp", args[0]) })
}

// proxyTo connects each connection that l accepts to one that dial returns.
func proxyTo(ctx context.Context, l net.Listener, stdin io.Reader, stdout io.Writer, dial func() (net.Conn, error)) error {
	return serveConns(ctx, l, stdin, stdout, func(near net.Conn) {
		far, err := dial()
		if err != nil {
			_ = near.Close()
			return
		}
		join(near, far)
	})
}

// join copies in both directions until both have ended, and closes a and b.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(a, b) })
	wg.Go(func() { copyHalf(b, a) })
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

// copyHalf copies one direction through a buffer, as a tunnel does: on Linux, io.Copy
// between TCP connections would use splice(2).
func copyHalf(dst, src net.Conn) {
	buf := make([]byte, copySize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				_ = src.Close()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			closeWrite(dst)
			return
		case err != nil:
			_ = dst.Close()
			return
		}
	}
}

// closeWrite closes the writing direction. Close does that for yamux streams.
func closeWrite(conn net.Conn) {
	if cw, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
		return
	}
	_ = conn.Close()
}
