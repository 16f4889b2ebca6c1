package wsmux

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// listenerPair returns a listener to which one end of a session was added, and the other
// end.
func listenerPair(t *testing.T) (*Listener, *Session) {
	t.Helper()
	dialed, accepted := tunneltest.WebSockets(t)
	client, err := NewSession(dialed, Dialing, Client, nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewSession(accepted, Accepting, Server, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener()
	l.Add(server)
	t.Cleanup(func() {
		_ = l.Close()
		_ = client.Close()
		_ = server.Close()
	})
	return l, client
}

func open(t *testing.T, s *Session) *Stream {
	t.Helper()
	stream, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestListenerClose(t *testing.T) {
	t.Parallel()
	l, client := listenerPair(t)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
	if n, err := open(t, client).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read from a late stream = %d, %v, want its end", n, err)
	}
	if err := client.Err(); err != nil {
		t.Errorf("the listener's Close ended the session: %v", err)
	}
}

// A gRPC server reads on after a few bytes that can't become HTTP/2. When it stops, the
// listener closes such streams.
func TestListenerCloseEndsForeignStreams(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{"", "PRI", "abc"} {
		l, client := listenerPair(t)
		stream := open(t, client)
		if _, err := io.WriteString(stream, sent); err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(accepted, make([]byte, len(sent))); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read after %q = %v, want the stream's end", sent, err)
		}
	}
}
