package main

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/yamux"
)

// yamuxWindow is MaxStreamWindowSize of the yamux system. The rest of the configuration
// is the default.
const yamuxWindow = 4 << 20

func yamuxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.MaxStreamWindowSize = yamuxWindow
	return config
}

// runYamuxFar runs the far process of yamux, which accepts sessions. Its argument is the
// address to connect to.
func runYamuxFar(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 1); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	return serveConns(ctx, l, stdin, stdout, func(conn net.Conn) {
		session, err := yamux.Server(conn, yamuxConfig())
		if err != nil {
			return
		}
		for {
			stream, err := session.Accept()
			if err != nil {
				_ = session.Close()
				return
			}
			go func() {
				far, err := dialTCP(ctx, args[0])
				if err != nil {
					_ = stream.Close()
					return
				}
				join(stream, far)
			}()
		}
	})
}

// runYamuxNear runs the near process of yamux, which opens a stream for each connection.
// Its argument is the address to connect to. If the session is lost, the next connection
// replaces it.
func runYamuxNear(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 1); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var session *yamux.Session
	return proxyTo(ctx, l, stdin, stdout, func() (net.Conn, error) {
		mu.Lock()
		if session == nil || session.IsClosed() {
			conn, err := dialTCP(ctx, args[0])
			if err == nil {
				session, err = yamux.Client(conn, yamuxConfig())
			}
			if err != nil {
				mu.Unlock()
				return nil, err
			}
		}
		s := session
		mu.Unlock()
		return s.Open()
	})
}
