package wsmux

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A write timeout ends the session, because the frame may still arrive and a retry
// could send it twice. All calls fail.
func TestStalledLinkEndsTheSession(t *testing.T) { //nolint:paralleltest // other tests could delay a write by writeTimeout
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
		"Accept": func(s *Session, _ *Stream) error {
			_, err := s.Accept()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
			client, err := NewSession(dialed, Dialing, Client, &Options{writeTimeout: writeTimeout})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := NewSession(accepted, Accepting, Server, &Options{Window: yamuxWindow})
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
			for range 2 { // the ACKs enlarge the send windows
				if _, err := server.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := client.PingYamux(t.Context()); err != nil {
				t.Fatal(err)
			}
			relay.Freeze()
			filled := make(chan struct{})
			go func() {
				defer close(filled)
				_, _ = io.Copy(filler, endless{}) // fills the sockets' buffers
			}()
			if err := call(client, stream); err == nil {
				t.Errorf("%s on a stalled link = nil error", name)
			}
			if _, ok := tunneltest.Within(5*time.Second, client.Done()); !ok {
				t.Fatal("the session is still up")
			}
			if err := client.Err(); !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "stalled") {
				t.Errorf("Err() = %v, want that the link is stalled", err)
			}
			<-filled
			relay.Cut()
		})
	}
}

// A write that makes progress doesn't time out. The two sides use different code to
// write.
func TestSlowLinkIsNotStalled(t *testing.T) {
	t.Parallel()
	for _, from := range []Role{Client, Server} { // the client dials
		t.Run("from the "+from.String(), func(t *testing.T) {
			t.Parallel()
			dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
			opts := &Options{writeTimeout: 2 * time.Second}
			client, err := NewSession(dialed, Dialing, Client, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := NewSession(accepted, Accepting, Server, opts)
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
