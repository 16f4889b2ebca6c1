package tunnel_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestGet(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/refused":
			http.Error(w, "no, "+password, http.StatusForbidden)
		default:
			fmt.Fprint(w, user, r.Header.Get("X-One"), r.URL.RawQuery)
		}
	}))
	defer srv.Close()
	url := "ws://user:s3cret@" + strings.TrimPrefix(srv.URL, "http://")
	opts := &tunnel.DialOptions{Proxy: "none", Header: http.Header{"X-One": {"1"}}}
	if body, err := tunnel.Get(tunneltest.Soon(t), url+"/?q", opts, 6); string(body) != "user1q" || err != nil {
		t.Errorf("Get = %q, %v", body, err)
	}
	if _, err := tunnel.Get(tunneltest.Soon(t), url+"/?q", opts, 5); err == nil || !strings.Contains(err.Error(), "more than 5 bytes") {
		t.Errorf("Get = %v, want an error about the size", err)
	}
	for path, code := range map[string]int{"/moved": 302, "/refused": 403} {
		_, err := tunnel.Get(tunneltest.Soon(t), url+path, opts, 5)
		he, ok := errors.AsType[*tunnel.HandshakeError](err)
		if !ok || he.StatusCode != code || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Get(%s) = %v, want %d, without the password", path, err, code)
		}
	}
	if _, err := tunnel.Get(tunneltest.Soon(t), "x://h", opts, 5); err == nil {
		t.Error("Get of a wrong URL: no error")
	}
}

// A peer that isn't an HTTP server is an error.
func TestGetNoHTTP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = conn.Write([]byte("SSH-2.0\r\n\r\n"))
	}()
	_, err = tunnel.Get(tunneltest.Soon(t), "ws://"+l.Addr().String(), &tunnel.DialOptions{Proxy: "none"}, 5)
	if de, ok := errors.AsType[*tunnel.DialError](err); !ok || de.URL == "" {
		t.Errorf("Get = %v, want a DialError", err)
	}
}
