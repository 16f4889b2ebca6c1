package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// forward makes f serve on a new listener until the test ends, and returns its address.
func forward(t *testing.T, f *Forwarder) (addr string) {
	t.Helper()
	l := tunneltest.Listen(t)
	serving := make(chan error, 1)
	go func() { serving <- f.Serve(l) }()
	t.Cleanup(func() {
		_ = f.Shutdown(tunneltest.Ended())
		if err := tunneltest.Await(t, "Serve", serving); err != nil {
			t.Errorf("Serve = %v, want nil after Shutdown", err)
		}
	})
	return l.Addr().String()
}

// forwardTo forwards to one session, and returns the peer's end of the session.
func forwardTo(t *testing.T) (addr string, peer *wsmux.Session, f *Forwarder) {
	t.Helper()
	f = &Forwarder{Sessions: newSessions(t)}
	client, server := sessionPair(t)
	f.Sessions.Add(client, "")
	return forward(t, f), server, f
}

// forwardCalls forwards to a tunneltest.EchoServer.
func forwardCalls(t *testing.T, called func(context.Context)) (addr string, f *Forwarder) {
	t.Helper()
	f = &Forwarder{Sessions: newSessions(t)}
	addr = forward(t, f)
	serveCalls(t, f.Sessions, called)
	return addr, f
}

// serveCalls adds a session to ss whose peer is a tunneltest.EchoServer.
func serveCalls(t *testing.T, ss *tunnel.Sessions, called func(context.Context)) (peer *wsmux.Session) {
	t.Helper()
	client, peer := sessionPair(t)
	streams := wsmux.NewListener()
	streams.Add(peer)
	tunneltest.EchoServer(t, streams, called)
	ss.Add(client, "")
	return peer
}

func acceptStream(t *testing.T, s *wsmux.Session) *wsmux.Stream {
	t.Helper()
	stream, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	if err := stream.SetDeadline(time.Now().Add(tunneltest.Patience)); err != nil {
		t.Fatal(err)
	}
	return stream
}

// fill starts to write to w until that fails, and sends the error.
func fill(w io.Writer) <-chan error {
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return
			}
		}
	}()
	return failed
}

func expectEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %d, %v, want 0, io.EOF", n, err)
	}
}

func TestForwardHalfClose(t *testing.T) {
	t.Parallel()
	addr, peer, _ := forwardTo(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for _, test := range []struct {
		name string
		ends func(local *net.TCPConn, stream *wsmux.Stream) (first, second interface {
			io.ReadWriter
			CloseWrite() error
		})
	}{
		{"the local client ends first", func(l *net.TCPConn, s *wsmux.Stream) (_, _ interface {
			io.ReadWriter
			CloseWrite() error
		},
		) {
			return l, s
		}},
		{"the peer ends first", func(l *net.TCPConn, s *wsmux.Stream) (_, _ interface {
			io.ReadWriter
			CloseWrite() error
		},
		) {
			return s, l
		}},
	} {
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // they share the session
			local := tunneltest.DialTCP(t, addr)
			tunneltest.Write(t, local, "hello")
			stream := acceptStream(t, peer)
			tunneltest.Expect(t, stream, "hello")
			tunneltest.Write(t, stream, "hi")
			tunneltest.Expect(t, local, "hi")

			first, second := test.ends(local, stream)
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expectEnd(t, second)
			sent := make(chan error, 1)
			go func() {
				_, err := second.Write(large)
				sent <- errors.Join(err, second.CloseWrite())
			}()
			if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, large) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(large))
			}
			if err := tunneltest.Await(t, "the transfer", sent); err != nil {
				t.Errorf("sending: %v", err)
			}
		})
	}
}

func TestForwardLocalReset(t *testing.T) {
	t.Parallel()
	addr, peer, _ := forwardTo(t)
	local := tunneltest.DialTCP(t, addr)
	tunneltest.Write(t, local, "hello")
	stream := acceptStream(t, peer)
	tunneltest.Expect(t, stream, "hello")
	_ = local.SetLinger(0)
	_ = local.Close()
	if n, err := stream.Read(make([]byte, 1)); err == nil {
		t.Errorf("Read = %d, nil, want an error", n)
	}
}

func TestForwardSessionLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*wsmux.Session, *tunneltest.Relay){
		"closed": func(s *wsmux.Session, _ *tunneltest.Relay) { _ = s.Close() },
		"cut":    func(_ *wsmux.Session, relay *tunneltest.Relay) { relay.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &Forwarder{Sessions: newSessions(t)}
			client, peer, relay := relayedSessions(t)
			f.Sessions.Add(client, "")
			local := tunneltest.DialTCP(t, forward(t, f))
			tunneltest.Write(t, local, "hello")
			tunneltest.Expect(t, acceptStream(t, peer), "hello")
			lose(client, relay)
			if _, err := local.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Read = %v, want a reset", err)
			}
		})
	}
}

func TestForwardWaitsForSession(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: tunneltest.Patience}
	local := tunneltest.DialTCP(t, forward(t, f))
	tunneltest.Write(t, local, "hello")
	client, peer := sessionPair(t)
	f.Sessions.Add(client, "")
	tunneltest.Expect(t, acceptStream(t, peer), "hello")
}

func TestForwardWithoutWaiting(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: -1}
	client, peer := sessionPair(t)
	f.Sessions.Add(client, "")
	local := tunneltest.DialTCP(t, forward(t, f))
	tunneltest.Write(t, local, "hello")
	tunneltest.Expect(t, acceptStream(t, peer), "hello")
}

func TestForwardFailsOver(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t)}
	addr := forward(t, f)
	serveCalls(t, f.Sessions, nil)
	var called atomic.Bool
	held := make(chan struct{})
	newest := serveCalls(t, f.Sessions, func(ctx context.Context) {
		if called.CompareAndSwap(false, true) {
			close(held)
			<-ctx.Done()
		}
	})
	go func() { _ = tunneltest.Call(t.Context(), tunneltest.Caller(t, addr), "held") }()
	tunneltest.Await(t, "the call", held)
	shut := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = newest.Shutdown(ctx)
		close(shut)
	}()
	for deadline := tunneltest.Soon(t); ; {
		err := tunneltest.Call(deadline, tunneltest.Caller(t, addr), "hello")
		if err == nil {
			break
		}
		if deadline.Err() != nil {
			t.Fatalf("call = %v, want it forwarded on the older session", err)
		}
	}
	cancel()
	tunneltest.Await(t, "Shutdown", shut)
}

// failingListener returns errs from Accept.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

type temporaryError struct{}

func (temporaryError) Error() string   { return "too many open files" }
func (temporaryError) Timeout() bool   { return false }
func (temporaryError) Temporary() bool { return true }

func TestForwarderServeErrors(t *testing.T) {
	t.Parallel()
	final := errors.New("final")
	f := &Forwarder{Sessions: newSessions(t)}
	l := &failingListener{tunneltest.Listen(t), []error{temporaryError{}, temporaryError{}, final}}
	if err := f.Serve(l); !errors.Is(err, final) {
		t.Errorf("Serve = %v, want the final error", err)
	}
	if _, err := l.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Serve = %v, want net.ErrClosed", err)
	}
	_ = f.Shutdown(tunneltest.Soon(t))
	late := tunneltest.Listen(t)
	if err := f.Serve(late); err != nil {
		t.Errorf("Serve after Shutdown = %v, want nil", err)
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
}

func TestForwarderLeavesNothing(t *testing.T) { //nolint:paralleltest // counts the process's files
	tunneltest.CheckFiles(t)
	t.Run("connections", func(t *testing.T) {
		f := &Forwarder{Sessions: newSessions(t), Wait: time.Millisecond}
		addr := forward(t, f)
		for range 5 {
			_ = tunneltest.Call(tunneltest.Soon(t), tunneltest.Caller(t, addr), "no session")
		}
		serveCalls(t, f.Sessions, nil)
		for range 10 {
			cc := tunneltest.Caller(t, addr)
			if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
				t.Error(err)
			}
			local := tunneltest.DialTCP(t, addr)
			tunneltest.Write(t, local, "no HTTP/2 at all, but long enough")
			_ = local.SetLinger(0)
			_ = local.Close()
		}
	})
}

// A server whose Write waits for the client to read gets an error when the client has
// gone.
func TestForwardToClientThatIsLost(t *testing.T) {
	t.Parallel()
	addr, peer, _ := forwardTo(t)
	local := tunneltest.DialTCP(t, addr)
	tunneltest.Write(t, local, "x")
	stream := acceptStream(t, peer)
	tunneltest.Expect(t, stream, "x")
	written := fill(stream)
	tunneltest.Expect(t, local, "\x00")
	newSocketEndpoint(local).abort()
	if err := tunneltest.Await(t, "the server's Write", written); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server's Write = %v, want a reset", err)
	}
}
