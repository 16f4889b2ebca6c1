package wsmux

import (
	"io"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A frame that yamux has given up on may still arrive, so nothing may be tried
// again on its session, whichever call met the time-out.
func TestStalledLinkEndsTheSession(t *testing.T) { //nolint:paralleltest // on an idle link nothing may take writeTimeout
	const writeTimeout = 500 * time.Millisecond
	for name, call := range map[string]func(s *Session, stream *Stream) error{
		"Write": func(_ *Session, stream *Stream) error {
			_, err := io.Copy(stream, endless{})
			return err
		},
		"Open": func(s *Session, _ *Stream) error {
			for {
				if _, err := s.Open(t.Context()); err != nil {
					return err
				}
			}
		},
		"Accept": func(s *Session, _ *Stream) error { // it answers the peer who opened the stream
			_, err := s.Accept()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
			client, err := NewSession(dialed, Client, &Options{writeTimeout: writeTimeout})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := NewSession(accepted, Server, &Options{Window: DefaultWindow})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			stream, err := client.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			filler, err := client.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			peers, err := server.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := server.Open(t.Context()); err != nil { // which waits to be accepted
				t.Fatal(err)
			}
			if _, err := peers.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			relay.Freeze()
			// More than the sockets hold. yamux's own time-out leaves the session up.
			if _, err := filler.stream.Write(make([]byte, DefaultWindow)); err == nil {
				t.Fatal("the frames that fill the link were all sent")
			}
			if err := call(client, stream); err == nil {
				t.Errorf("%s on a stalled link = nil error", name)
			}
			if _, ok := tunneltest.Within(5*time.Second, client.Done()); !ok {
				t.Fatal("the session lives on")
			}
			relay.Cut()
		})
	}
}

// A link that takes a little of a message at a time is slow, and not stalled: from
// either side, for each sends in its own way.
func TestSlowLinkIsNotStalled(t *testing.T) {
	t.Parallel()
	for _, from := range []Role{Client, Server} { // the client dials
		t.Run("from the "+from.String(), func(t *testing.T) {
			t.Parallel()
			dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
			opts := &Options{writeTimeout: 2 * time.Second}
			client, err := NewSession(dialed, Client, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := NewSession(accepted, Server, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			sender := map[Role]*Session{Client: client, Server: server}[from]
			stream, err := sender.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			relay.SetBandwidth(64 * 1024)
			if _, err := stream.Write(make([]byte, 256*1024)); err != nil { // takes four seconds
				t.Errorf("Write = %v", err)
			}
		})
	}
}

// endless is a reader of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
