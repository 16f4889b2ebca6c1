package web

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Clients that open connections and send nothing, or part of a request, keep out nobody else, and
// the server has no more of them than the limit says.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	_, url := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	idle := make([]net.Conn, maxConns+20)
	for i := range idle {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "); err != nil {
			t.Fatal(err)
		}
		idle[i] = conn
	}
	resp := get(t, url)
	_ = resp.Body.Close()
	for i, conn := range idle[:21] { // one more for the request
		_ = conn.SetReadDeadline(time.Now().Add(headerTimeout / 2))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is open: %v", i, err)
		}
	}
	last := idle[len(idle)-1]
	if _, err := io.WriteString(last, "localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(last); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200") {
		t.Errorf("the last connection: %q, %v", text, err)
	}
}

// While all connections have a request that is answered, new ones are closed.
func TestTooManyRequestsAndConnections(t *testing.T) {
	t.Parallel()
	c := newConns()
	pipe := func() (server, client net.Conn) {
		server, client = net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		return server, client
	}
	for range maxConns {
		server, _ := pipe()
		c.track(server, http.StateNew)
		c.track(server, http.StateActive)
	}
	server, client := pipe()
	c.track(server, http.StateNew)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
	c.track(server, http.StateClosed)
	if len(c.all) != maxConns || c.waiting.Len() != 0 {
		t.Errorf("%d connections, %d of them waiting", len(c.all), c.waiting.Len())
	}
}
