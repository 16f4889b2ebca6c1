package wsmux

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// pipeSessions returns the ends of a session over [net.Pipe], which works in a
// bubble.
func pipeSessions(t *testing.T) (client, server *Session) {
	t.Helper()
	near, far := net.Pipe()
	accepted := make(chan *websocket.Conn, 1)
	go func() {
		br := bufio.NewReader(far)
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Error(err)
		}
		ws, err := new(websocket.Upgrader).Upgrade(pipeHijacker{httptest.NewRecorder(), far, br}, req, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- ws
	}()
	dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }}
	dialed, _, err := dialer.DialContext(t.Context(), "ws://peer/", nil) //nolint:bodyclose // nothing is left of it
	if err != nil {
		t.Fatal(err)
	}
	if client, err = NewSession(dialed, Client, nil); err != nil {
		t.Fatal(err)
	}
	if server, err = NewSession(<-accepted, Server, nil); err != nil {
		t.Fatal(err)
	}
	return client, server
}

type pipeHijacker struct {
	*httptest.ResponseRecorder
	conn net.Conn
	br   *bufio.Reader
}

func (h pipeHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(h.br, bufio.NewWriter(h.conn)), nil
}

// The tests in here let hours pass in a bubble. yamux keeps its timers in a
// pool that all sessions of the process share, and a timer can't move between
// bubbles, so that there is one bubble only and the pool is emptied around it.
func TestAsTimePasses(t *testing.T) { //nolint:paralleltest // see above
	emptyPools := func() {
		runtime.GC()
		runtime.GC()
	}
	emptyPools()
	t.Cleanup(emptyPools)
	synctest.Test(t, func(t *testing.T) {
		client, server := pipeSessions(t)

		// A stream that the peer doesn't accept costs nothing but itself.
		waiting, err := client.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Hour)
		if err := client.Err(); err != nil {
			t.Fatalf("Err() after a stream was not accepted for two hours: %v", err)
		}
		accepted, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}

		// A half-closed stream has five minutes, and its end isn't io.EOF.
		if err := waiting.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-time.After(halfCloseTimeout - time.Second)
		if _, err := accepted.Write([]byte("late")); err != nil {
			t.Errorf("Write to a half-closed stream: %v", err)
		}
		buf := make([]byte, 8)
		if n, err := waiting.Read(buf); err != nil || string(buf[:n]) != "late" {
			t.Errorf("Read from a half-closed stream = %q, %v, want late", buf[:n], err)
		}
		if n, err := waiting.Read(buf); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "half-closed") {
			t.Errorf("Read from a stream half-closed for too long = %d, %v, want an error that says so", n, err)
		}
		_, _ = waiting.Close(), accepted.Close()

		if err := client.Err(); err != nil {
			t.Errorf("Err() = %v, want a live session", err)
		}
		_, _ = client.Close(), server.Close()
	})
}
