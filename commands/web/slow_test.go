package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener accepts connections in memory.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// inMemory calls f with a function that connects to a server of handler, in a bubble.
func inMemory(t *testing.T, handler http.HandlerFunc, f func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := make(pipeListener)
		s := NewServer(t.Context(), handler, slog.New(slog.DiscardHandler))
		go func() { _ = s.Serve(l) }()
		f(t, func() net.Conn {
			client, server := net.Pipe()
			l <- server
			return client
		})
		close(l)
		_ = s.Close()
	})
}

// A response may take longer than each of its writes, and the connection works afterwards.
func TestSlowResponse(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) {
		stream := NewStream(w)
		_, err := io.Copy(io.Discard, r.Body)
		for range 5 {
			_, err2 := io.WriteString(stream, "line\n")
			<-time.After(time.Minute)
			err = errors.Join(err, err2, r.Context().Err())
		}
		if err != nil {
			t.Error(err)
		}
	}
	inMemory(t, handler, func(t *testing.T, dial func() net.Conn) {
		t.Helper()
		dials := 0
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return dial(), nil
		}}
		defer transport.CloseIdleConnections()
		for _, body := range []string{"", "{}", ""} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil || len(text) != 25 {
				t.Errorf("with the body %q: %q, %v", body, text, err)
			}
			_ = resp.Body.Close()
		}
		if dials != 1 {
			t.Errorf("%d connections for three requests, want 1", dials)
		}
	})
}

// Clients can't hold a request by sending its body slowly, or by not reading the response.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"a body that doesn't come": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
		"nothing is read":          "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		var took time.Duration
		var failed error
		handler := func(w http.ResponseWriter, r *http.Request) {
			begun := time.Now()
			if _, failed = io.Copy(io.Discard, r.Body); failed == nil {
				_, failed = w.Write(make([]byte, 1<<20))
			}
			took = time.Since(begun)
		}
		inMemory(t, handler, func(t *testing.T, dial func() net.Conn) {
			t.Helper()
			conn := dial()
			defer conn.Close()
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Minute)
		})
		if failed == nil || took != 10*time.Second {
			t.Errorf("%s: %v after %v, want a failure after 10s", name, failed, took)
		}
	}
}
