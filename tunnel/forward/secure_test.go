package forward

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// secureForwarders returns two forwarders from a local address to an EchoServer, through a
// session with TLS in its streams, and sends each stream.
func secureForwarders(t *testing.T, called func(context.Context)) (near, far *Forwarder, local string, streams <-chan wsmux.Conn) {
	t.Helper()
	l := tunneltest.Listen(t)
	tunneltest.EchoServer(t, l, called)
	client, server := securePair(t, "w-1")
	near = &Forwarder{Sessions: newSessions(t)}
	near.Sessions.Add(client, "")
	far = &Forwarder{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}
	t.Cleanup(func() { _ = far.Shutdown(tunneltest.Ended()) })
	accepted := make(chan wsmux.Conn, 9)
	go server.AcceptEach(func(c wsmux.Conn) {
		accepted <- c
		far.ServeStream(c)
	})
	return near, far, forward(t, near), accepted
}

// Both ends of TLS see the calls, and write GOAWAYs into the plaintext.
func TestForwardTLS(t *testing.T) {
	t.Parallel()
	called, finish := make(chan struct{}), make(chan struct{})
	near, far, local, streams := secureForwarders(t, func(context.Context) {
		called <- struct{}{}
		<-finish
	})
	cc := tunneltest.Caller(t, local)
	answered := make(chan error, 1)
	call := func() {
		go func() { answered <- tunneltest.Call(tunneltest.Soon(t), cc, strings.Repeat("x", 1<<20)) }()
		tunneltest.Await(t, "the call", called)
	}
	call()
	for name, f := range map[string]*Forwarder{"near": near, "far": far} {
		if calls := f.Calls(); len(calls) != 1 || calls[0].Stream != 1 || !strings.HasSuffix(calls[0].Method, "Echo") {
			t.Errorf("the %s forwarder has the calls %+v", name, calls)
		}
	}
	far.Reconnect()
	near.Reconnect()
	finish <- struct{}{}
	if err := tunneltest.Await(t, "the answer", answered); err != nil {
		t.Errorf("a call during Reconnect: %v", err)
	}
	call()
	if n := len(streams); n != 2 {
		t.Errorf("%d streams, want another one after Reconnect", n)
	}
	down := make(chan error, 2)
	for _, f := range []*Forwarder{near, far} {
		go func() { down <- f.Shutdown(tunneltest.Soon(t)) }()
	}
	finish <- struct{}{}
	if err := tunneltest.Await(t, "the answer", answered); err != nil {
		t.Errorf("a call during Shutdown: %v", err)
	}
	for range 2 {
		if err := tunneltest.Await(t, "Shutdown", down); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	}
}

// A call fails with the reason if something on the way cuts its stream off, or the peer is
// another one.
func TestForwardTLSFails(t *testing.T) {
	t.Parallel()
	client, server := securePair(t, "w-1")
	near := &Forwarder{Sessions: newSessions(t)}
	near.Sessions.Add(client, "")
	go server.AcceptEach(func(c wsmux.Conn) {
		framer := http2.NewFramer(c, c)
		_, _ = io.CopyN(io.Discard, c, int64(len(http2.ClientPreface)))
		_ = framer.WriteSettings()
		for {
			if f, err := framer.ReadFrame(); err != nil || f.Header().Type == http2.FrameHeaders {
				break
			}
		}
		_ = c.(*wsmux.TLSConn).NetConn().(interface{ CloseWrite() error }).CloseWrite()
	})
	err := tunneltest.Call(tunneltest.Soon(t), tunneltest.Caller(t, forward(t, near)), "x")
	want := "wstun: inner TLS with w-1: " + wsmux.ErrTruncated.Error()
	if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), want) {
		t.Errorf("the call ended with %v, want %s", err, want)
	}

	client, server = securePair(t, "rival")
	go server.AcceptEach(func(c wsmux.Conn) { _ = c.Close() })
	near = &Forwarder{Sessions: newSessions(t)}
	near.Sessions.Add(client, "")
	err = tunneltest.Call(tunneltest.Soon(t), tunneltest.Caller(t, forward(t, near)), "x")
	want = "wstun: inner TLS with w-1: tls: failed to verify certificate: x509: certificate is valid for rival, not w-1"
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != want {
		t.Errorf("a call to a rival = %v, want %s", err, want)
	}
}

// A server that doesn't read keeps no connection of a client that has gone.
func TestForwardTLSAbort(t *testing.T) {
	t.Parallel()
	client, server := securePair(t, "w-1")
	pipe, unread := net.Pipe()
	defer unread.Close()
	upstream := closingConn{pipe, make(chan struct{}, 9)}
	far := &Forwarder{Dial: func(context.Context) (net.Conn, error) { return upstream, nil }}
	t.Cleanup(func() { _ = far.Shutdown(tunneltest.Ended()) })
	go far.ServeStreams(server, 1)
	conn, err := client.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tunneltest.Write(t, conn, "x")
	tunneltest.Expect(t, unread, "x")
	tunneltest.Write(t, conn, "y") // the server doesn't read it
	tunneltest.Eventually(t, "the last byte at the server end", func() bool { return server.Stats().BytesReceived == client.Stats().BytesSent })
	_ = conn.Reset()
	tunneltest.Await(t, "the end of the connection to the server", upstream.closed)
	_ = conn.Close()
}

// closingConn reports Close.
type closingConn struct {
	net.Conn
	closed chan struct{}
}

func (c closingConn) Close() error {
	c.closed <- struct{}{}
	return c.Conn.Close()
}
