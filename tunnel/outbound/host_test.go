package outbound

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestASCIIHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                          "",
		"münchen.example":           "xn--mnchen-3ya.example",
		"MÜNCHEN.example:7071":      "xn--mnchen-3ya.example:7071",
		"日本語。example":               "xn--wgv71a119e.example",
		"１２７.0.0.1:80":              "127.0.0.1:80",
		"xn--mnchen-3ya.example:80": "xn--mnchen-3ya.example:80",
		"Under_score.Example":       "Under_score.Example",
		"[fe80::1%eth0]:80":         "[fe80::1%eth0]:80",
		"ü_b":                       "",
		"a\u200db.ü":                "",
	} {
		if got, err := ASCIIHost(in); got != want || (err == nil) != (want != "" || in == "") {
			t.Errorf("ASCIIHost(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// The name of a proxy is resolved in ASCII and shown as given.
func TestDialViaInternationalProxy(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 1)
	addr := startProxyPeer(t, httpProxy{startProxyTarget(t), nil, requests}.serve)
	given := strings.Replace(addr, "127.", "１２７.", 1)
	through, err := parseProxy("http://" + given)
	if err != nil {
		t.Fatal(err)
	}
	target, err := ParseAddr("münchen.example:7071")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := Dial(t.Context(), target, through, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkProxyEcho(t, conn)
	_ = conn.Close()
	if got, want := (<-requests).RequestURI, "xn--mnchen-3ya.example:7071"; got != want {
		t.Errorf("the proxy was asked for %s, want %s", got, want)
	}
	refusing := startProxyPeer(t, answerProxy("HTTP/1.1 502 Bad Gateway\r\n\r\n"))
	through = &url.URL{Scheme: "http", Host: strings.Replace(refusing, "127.", "１２７.", 1)}
	_, err = Dial(t.Context(), target, through, nil)
	checkProxyError(t, err, through, "502 Bad Gateway")
}
