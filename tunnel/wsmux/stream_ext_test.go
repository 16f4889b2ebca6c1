package wsmux_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/nettest"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestStreamIsANetConn(t *testing.T) { //nolint:paralleltest // as TestWrapConnIsANetConn
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		client, server := sessions(t)
		c1, c2 := connect(t, client, server)
		return c1, c2, func() {
			_ = c1.Close()
			_ = c2.Close()
			_ = client.Close()
			_ = server.Close()
		}, nil
	})
}

func TestStreamDirectionsEndSeparately(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"opening", "accepting"} {
		t.Run(first+" end first", func(t *testing.T) {
			t.Parallel()
			client, server := sessions(t)
			a, b := connect(t, client, server)
			if first == "accepting" {
				a, b = b, a
			}
			mustWrite(t, a, "request")
			if err := a.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(b); string(got) != "request" || err != nil {
				t.Fatalf("ReadAll = %q, %v, want the request", got, err)
			}
			if _, err := a.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after CloseWrite = %v, want net.ErrClosed", err)
			}
			mustWrite(t, b, "answer")
			if err := b.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(a); string(got) != "answer" || err != nil {
				t.Errorf("ReadAll = %q, %v, want the answer", got, err)
			}
			for range 2 {
				if err := errors.Join(a.Close(), b.Close()); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			tunneltest.Eventually(t, "the end of the streams", func() bool { // a Read may return before the stream is removed
				return client.Stats().Streams+server.Stats().Streams == 0
			})
		})
	}
}

func TestStreamCloseWakesReadAndWrite(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	stream, peer := connect(t, client, server)
	defer peer.Close()
	errs := make(chan error, 2)
	go func() {
		_, err := stream.Read(make([]byte, 1))
		errs <- err
	}()
	mustWrite(t, stream, string(make([]byte, firstWindow))) // fills the peer's window
	go func() {
		_, err := stream.Write(make([]byte, 1))
		errs <- err
	}()
	within(t, "Close", func() { _ = stream.Close() })
	for range 2 {
		if err := await(t, "waking Read and Write", errs); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read or Write during Close = %v, want net.ErrClosed", err)
		}
	}
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close = %v, want net.ErrClosed", err)
	}
	if err := stream.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline after Close = %v, want net.ErrClosed", err)
	}
}

func TestStreamDeadlinesCanBeMoved(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	a, b := connect(t, client, server)
	mustWrite(t, b, "waiting")
	_ = a.SetDeadline(time.Unix(1, 0))
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read past its deadline = %d, %v, want os.ErrDeadlineExceeded", n, err)
	}
	if n, err := a.Write(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write past its deadline = %d, %v, want os.ErrDeadlineExceeded", n, err)
	}
	_ = a.SetDeadline(time.Time{})
	mustRead(t, a, "waiting")
	mustWrite(t, a, "still open")
	mustRead(t, b, "still open")
}

func TestStreamResetByThePeer(t *testing.T) {
	t.Parallel()
	ws, peer := tunneltest.WebSockets(t)
	s := newSession(t, ws, wsmux.Dialing, wsmux.Client)
	stream, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reset := make([]byte, 12)
	reset[1] = 1                              // window update
	binary.BigEndian.PutUint16(reset[2:], 10) // ACK, RST
	binary.BigEndian.PutUint32(reset[4:], 1)
	send(t, peer, websocket.BinaryMessage, reset)
	if _, err := stream.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("Read = %v, want a reset", err)
	}
	if _, err := stream.Write(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("Write = %v, want a reset", err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("Err() of the session = %v, want nil", err)
	}
}

func TestStreamAddressesTellStreamsApart(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	seen := make(map[string]bool)
	for range 3 {
		a, b := connect(t, client, server)
		seen[b.RemoteAddr().String()] = true
		if got, want := b.RemoteAddr().String(), a.LocalAddr().String(); got != want {
			t.Errorf("RemoteAddr() = %s, the peer's LocalAddr() = %s", got, want)
		}
		if !strings.HasPrefix(b.RemoteAddr().String(), server.RemoteAddr().String()) {
			t.Errorf("RemoteAddr() = %s, want it to begin with the session's %s", b.RemoteAddr(), server.RemoteAddr())
		}
	}
	if len(seen) != 3 {
		t.Errorf("three streams have the addresses %v", seen)
	}
}
