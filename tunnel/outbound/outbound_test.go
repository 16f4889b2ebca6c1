package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/wstun/wstun/tunnel/netdiag"
)

func TestDial(t *testing.T) {
	t.Parallel()
	target := startProxyTarget(t)
	requests := make(chan *http.Request, 1)
	proxy := "http://" + startProxyPeer(t, httpProxy{target, nil, requests}.serve)
	dial := func(addr, proxy string) (net.Conn, error) {
		through, err := ProxyFor(proxy, &url.URL{Scheme: "https", Host: addr})
		if err != nil {
			t.Fatal(err)
		}
		return Dial(t.Context(), Addr{Network: "tcp", Address: addr}, through, nil)
	}
	for _, tt := range []struct{ addr, proxy string }{{target, ""}, {target, "none"}, {"192.0.2.1:443", proxy}} {
		conn, err := dial(tt.addr, tt.proxy)
		if err != nil {
			t.Fatalf("Dial(%s) through %q = %v", tt.addr, tt.proxy, err)
		}
		checkProxyEcho(t, conn)
		_ = conn.Close()
	}
	if r := <-requests; r.Host != "192.0.2.1:443" {
		t.Errorf("the proxy was asked for %s", r.Host)
	}
	if _, err := dial("127.0.0.1:1", ""); !netdiag.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial to a closed port = %v", err)
	}
	if _, err := dial(target, "http://127.0.0.1:1"); err == nil {
		t.Error("Dial through a closed port succeeded")
	} else if _, ok := errors.AsType[*ProxyError](err); !ok {
		t.Errorf("Dial through a closed port = %v, want a *ProxyError", err)
	}
}
