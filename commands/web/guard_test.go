package web

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// request returns a request with the given lines of a header.
func request(method, path, host string, header ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	r.Host = host
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func TestGuard(t *testing.T) {
	t.Parallel()
	const token = "Authorization: Bearer secret"
	json := "Content-Type: application/json"
	onLoopback := &Guard{Loopback: true, Token: func() string { return "secret" }, OpenPaths: []string{"/healthz", "/"}}
	public := &Guard{Hosts: []string{"admin.example"}, Loopback: true, Token: onLoopback.Token, OpenPaths: []string{"/healthz"}, AnyHostPaths: []string{"/healthz"}}
	socket := &Guard{AnyHost: true}
	for _, test := range []struct {
		name  string
		guard *Guard
		r     *http.Request
		want  int
	}{
		{"with the token", onLoopback, request("GET", "/api", "127.0.0.1:7979", token), 200},
		{"in another case", onLoopback, request("GET", "/api", "LocalHost:7979", "Authorization: bearer  secret"), 200},
		{"IPv6", onLoopback, request("GET", "/api", "[::1]:7979", token), 200},
		{"no token", onLoopback, request("GET", "/api", "127.0.0.1:7979"), 401},
		{"a wrong token", onLoopback, request("GET", "/api", "127.0.0.1:7979", "Authorization: Bearer secre"), 401},
		{"an empty token", onLoopback, request("GET", "/api", "127.0.0.1:7979", "Authorization: Bearer"), 401},
		{"another scheme", onLoopback, request("GET", "/api", "127.0.0.1:7979", "Authorization: Basic secret"), 401},
		{"an open path", onLoopback, request("GET", "/healthz", "127.0.0.1:7979"), 200},
		{"an open path's neighbour", onLoopback, request("GET", "/healthz/", "127.0.0.1:7979"), 401},

		{"a rebound name", onLoopback, request("GET", "/api", "evil.test:7979", token), 421},
		{"a rebound name at an open path", onLoopback, request("GET", "/healthz", "evil.test:7979"), 421},
		{"a name that begins with localhost", onLoopback, request("GET", "/api", "localhost.evil.test", token), 421},
		{"a user before the host", onLoopback, request("GET", "/api", "127.0.0.1@evil.test", token), 421},
		{"no host", onLoopback, request("GET", "/api", "", token), 421},
		{"a public address", onLoopback, request("GET", "/api", "192.0.2.1:7979", token), 421},
		{"an allowed name", public, request("GET", "/api", "Admin.Example:443", token), 200},
		{"another name", public, request("GET", "/api", "other.example", token), 421},
		{"a check by address", public, request("GET", "/healthz", "192.0.2.1:7979"), 200},
		{"the API by address", public, request("GET", "/api", "192.0.2.1:7979", token), 421},

		{"another site's script", onLoopback, request("GET", "/api", "127.0.0.1:7979", token, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"), 403},
		{"another port's script", onLoopback, request("GET", "/api", "127.0.0.1:7979", token, "Sec-Fetch-Site: same-site"), 403},
		{"another site's image", onLoopback, request("GET", "/healthz", "127.0.0.1:7979", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"), 403},
		{"another site's frame", onLoopback, request("GET", "/", "127.0.0.1:7979", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"), 403},
		{"a link to the page", onLoopback, request("GET", "/", "127.0.0.1:7979", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 200},
		{"a link to the API", onLoopback, request("GET", "/api", "127.0.0.1:7979", token, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 403},
		{"the page's own script", onLoopback, request("GET", "/api", "127.0.0.1:7979", token, "Sec-Fetch-Site: same-origin"), 200},
		{"an old browser's foreign origin", onLoopback, request("GET", "/api", "127.0.0.1:7979", token, "Origin: http://127.0.0.1:7999"), 403},
		{"origin null", onLoopback, request("POST", "/api", "127.0.0.1:7979", token, json, "Origin: null"), 403},
		{"its own origin", onLoopback, request("POST", "/api", "127.0.0.1:7979", token, json, "Origin: http://127.0.0.1:7979"), 200},

		{"a form", onLoopback, request("POST", "/api", "127.0.0.1:7979", token, "Content-Type: application/x-www-form-urlencoded"), 415},
		{"a text", onLoopback, request("POST", "/api", "127.0.0.1:7979", token, "Content-Type: text/plain"), 415},
		{"no type", onLoopback, request("PUT", "/api", "127.0.0.1:7979", token), 415},
		{"JSON", onLoopback, request("POST", "/api", "127.0.0.1:7979", token, "Content-Type: application/json; charset=utf-8"), 200},

		{"a socket", socket, request("GET", "/api", "wstun"), 200},
		{"a browser at a socket", socket, request("GET", "/api", "wstun", "Origin: http://evil.test"), 403},
	} {
		w := httptest.NewRecorder()
		test.guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, test.r)
		if w.Code != test.want {
			t.Errorf("%s: %d %s, want %d", test.name, w.Code, w.Body, test.want)
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no security headers", test.name)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	h := (&Guard{AnyHost: true}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", err != nil)
	}))
	for size, want := range map[int]string{maxBody: "1048576 false", maxBody + 1: "1048576 true"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != want {
			t.Errorf("a body of %d bytes: %s, want %s", size, w.Body, want)
		}
	}
}
