package tunnel

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	origins := Guard{Origins: []string{"http://good.test", "https://good.test"}}
	loopback := Guard{LoopbackHost: true}
	for _, test := range []struct {
		name    string
		guard   Guard
		host    string
		origins []string
		want    string // the refusal; empty: allowed
	}{
		{"no origin", Guard{}, "any.test", nil, ""},
		{"origin", Guard{}, "any.test", []string{"http://any.test"}, `origin "http://any.test" is not allowed`},
		{"empty origin", Guard{}, "any.test", []string{""}, `origin "" is not allowed`},
		{"null origin", origins, "any.test", []string{"null"}, `origin "null" is not allowed`},
		{"allowed origin", origins, "any.test", []string{"https://good.test"}, ""},
		{"one of two", origins, "any.test", []string{"http://good.test", "http://bad.test"}, `origin "http://good.test" is not allowed`},
		{"any origin", Guard{Origins: []string{"*"}}, "any.test", []string{"null", "http://any.test"}, ""},
		{"long origin", Guard{}, "any.test", []string{strings.Repeat("x", 500)}, `origin "` + strings.Repeat("x", 100) + `" is not allowed`},
		{"origin with a line break", Guard{}, "any.test", []string{"x\ny"}, `origin "x\ny" is not allowed`},
		{"other host", loopback, "evil.test:7070", nil, `host "evil.test:7070" is not a loopback address`},
		{"address in a name", loopback, "127.0.0.1.evil.test", nil, `host "127.0.0.1.evil.test" is not a loopback address`},
		{"no host", loopback, "", nil, `host "" is not a loopback address`},
		{"localhost", loopback, "LocalHost.:7070", nil, ""},
		{"IPv4", loopback, "127.0.0.2", nil, ""},
		{"IPv6", loopback, "[::1]:80", nil, ""},
		{"loopback and origin", loopback, "localhost", []string{"http://localhost"}, `origin "http://localhost" is not allowed`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			test.guard.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			h := test.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "page")
			}))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = test.host
			r.Header["Origin"] = test.origins
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			wantCode, wantBody := http.StatusOK, "page"
			if test.want != "" {
				wantCode, wantBody = http.StatusForbidden, "wstun: "+test.want+"\n"
			}
			if w.Code != wantCode || w.Body.String() != wantBody {
				t.Errorf("answer = %d %q, want %d %q", w.Code, w.Body, wantCode, wantBody)
			}
			if got := strings.Contains(logged.String(), "level=WARN msg=\"request refused\" remote_addr="+r.RemoteAddr+" code=403 err="); got != (test.want != "") {
				t.Errorf("logged %q", logged.String())
			}
		})
	}
}
