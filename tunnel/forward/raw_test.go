package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// forwardStreams forwards the streams of a session to connections from dial. It returns
// the session's other end.
func forwardStreams(t *testing.T, dial func(context.Context) (net.Conn, error)) (*wsmux.Session, *Forwarder) {
	t.Helper()
	client, server := sessionPair(t)
	f := &Forwarder{Dial: dial}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ServeStreams(server, 7)
	}()
	t.Cleanup(func() {
		_ = f.Shutdown(tunneltest.Ended())
		_ = server.Close()
		tunneltest.Await(t, "ServeStreams", done)
	})
	return client, f
}

// callUpstream returns a gRPC client on a session whose streams are forwarded to
// upstream.
func callUpstream(t *testing.T, upstream net.Listener) (*grpc.ClientConn, *Forwarder) {
	t.Helper()
	client, f := forwardStreams(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
	})
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc, f
}

func TestForwardStreamsToAnUpstream(t *testing.T) {
	t.Parallel()
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, nil)
	cc, f := callUpstream(t, upstream)
	if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
		t.Errorf("call = %v", err)
	}
	shutting := make(chan error, 1)
	go func() { shutting <- f.Shutdown(tunneltest.Soon(t)) }()
	if err := tunneltest.Await(t, "Shutdown with an idle client", shutting); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestForwardStreamsWithoutAnUpstream(t *testing.T) {
	t.Parallel()
	client, _ := forwardStreams(t, func(context.Context) (net.Conn, error) {
		return nil, errors.New("upstream 127.0.0.1:1: connection refused")
	})
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	err = tunneltest.Call(tunneltest.Soon(t), cc, "hello")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "wstun: upstream 127.0.0.1:1: connection refused") {
		t.Errorf("call = %v, want Unavailable and the reason", err)
	}
}

func TestForwardStreamsUpstreamLost(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1)
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, func(ctx context.Context) {
		called <- struct{}{}
		<-ctx.Done()
	})
	conns := make(chan *net.TCPConn, 1)
	client, _ := forwardStreams(t, func(ctx context.Context) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
		if err == nil {
			conns <- conn.(*net.TCPConn)
		}
		return conn, err
	})
	cc, err := client.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	failed := make(chan error, 1)
	go func() { failed <- tunneltest.Call(tunneltest.Soon(t), cc, "hello") }()
	tunneltest.Await(t, "the call", called)
	_ = (<-conns).SetReadDeadline(time.Unix(1, 0)) // breaks the connection
	if err := tunneltest.Await(t, "the end of the call", failed); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "i/o timeout") {
		t.Errorf("call = %v, want Unavailable and the reason", err)
	}
}

// goneServer is the connection to a server that has responded and exited. After the
// first Write, its kernel sends an RST. Linux reports that to the next Read or Write
// only.
type goneServer struct {
	net.Conn
	response io.Reader
	written  bool
}

func (c *goneServer) Read(p []byte) (int, error) { return c.response.Read(p) }

func (c *goneServer) Write(p []byte) (int, error) {
	if c.written {
		return 0, syscall.ECONNRESET
	}
	c.written = true
	return len(p), nil
}

// A client that still sends to a server that has exited receives the response, and then
// its Write fails, even if it waits for the server to read.
func TestForwardStreamsToAServerThatHasGone(t *testing.T) {
	t.Parallel()
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // an HTTP/2 frame
	for name, server := range map[string]goneServer{
		"in order":      {response: strings.NewReader("no room")},
		"HTTP/2, reset": {response: io.MultiReader(strings.NewReader(settings), iotest.ErrReader(syscall.ECONNRESET))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server.Conn, _ = socketPair(t, "tcp", "127.0.0.1:0")
			client, _ := forwardStreams(t, func(context.Context) (net.Conn, error) { return &server, nil })
			stream, err := client.Open(tunneltest.Soon(t))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			_ = stream.SetDeadline(time.Now().Add(30 * time.Second))
			written := fill(stream)
			if response, err := io.ReadAll(stream); len(response) == 0 || err != nil {
				t.Errorf("ReadAll = %q, %v, want the response", response, err)
			}
			if err := tunneltest.Await(t, "the client's Write", written); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client's Write = %v, want a reset", err)
			}
		})
	}
}

// silentUpstream accepts connections, reads them to their end and never responds. ended
// receives a value when the client closes its direction of a connection, and closed
// when the connection from dial is closed.
func silentUpstream(t *testing.T) (dial func(context.Context) (net.Conn, error), ended, closed <-chan struct{}) {
	t.Helper()
	upstream := tunneltest.Listen(t)
	ends, closes := make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		for {
			conn, err := upstream.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn)
			ends <- struct{}{}
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
		if err != nil {
			return nil, err
		}
		return &watchedConn{TCPConn: conn.(*net.TCPConn), closed: closes}, nil
	}, ends, closes
}

// watchedConn sends to closed when it is closed.
type watchedConn struct {
	*net.TCPConn
	once   sync.Once
	closed chan<- struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { c.closed <- struct{}{} })
	return c.TCPConn.Close()
}

func TestForwardStreamsUpstreamHangs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(*testing.T, *wsmux.Session, *Forwarder)
	}{
		{"session ends", func(_ *testing.T, s *wsmux.Session, _ *Forwarder) { _ = s.Close() }},
		{"drain", func(t *testing.T, _ *wsmux.Session, f *Forwarder) {
			t.Helper()
			if err := f.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		}},
		{"cut", func(_ *testing.T, _ *wsmux.Session, f *Forwarder) { _ = f.Shutdown(tunneltest.Ended()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dial, ends, closed := silentUpstream(t)
			client, f := forwardStreams(t, dial)
			stream, err := client.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if err := stream.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			tunneltest.Await(t, "the client's end at the upstream", ends)
			tc.end(t, client, f)
			tunneltest.Await(t, "the end of the upstream's connection", closed)
		})
	}
}

// A client that has gone leaves no connection to a server that doesn't read.
func TestForwardStreamsUpstreamDoesNotRead(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*wsmux.Stream){
		"reset":        func(s *wsmux.Stream) { _ = s.Reset() },
		"session ends": func(s *wsmux.Stream) { _ = s.Session().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			writing := make(chan struct{})
			near, _ := net.Pipe()
			client, f := forwardStreams(t, func(context.Context) (net.Conn, error) { return &writingConn{Conn: near, writing: writing}, nil })
			stream, err := client.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tunneltest.Write(t, stream, "unread")
			tunneltest.Await(t, "the Write to the upstream", writing)
			end(stream)
			if err := f.Shutdown(tunneltest.Soon(t)); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
	}
}

// writingConn closes writing when a Write begins.
type writingConn struct {
	net.Conn
	writing chan struct{}
}

func (c *writingConn) Write(p []byte) (int, error) {
	close(c.writing)
	return c.Conn.Write(p)
}
