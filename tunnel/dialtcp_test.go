package tunnel

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
)

func TestDialTCP(t *testing.T) {
	t.Parallel()
	target := startProxyTarget(t)
	requests := make(chan *http.Request, 1)
	proxy := "http://" + startProxyPeer(t, httpProxy{target, nil, requests}.serve)
	for _, tt := range []struct{ addr, proxy string }{{target, ""}, {target, "none"}, {"192.0.2.1:443", proxy}} {
		conn, err := DialTCP(soon(t), tt.addr, tt.proxy, nil)
		if err != nil {
			t.Fatalf("DialTCP(%s, %q) = %v", tt.addr, tt.proxy, err)
		}
		checkProxyEcho(t, conn)
		_ = conn.Close()
	}
	if r := <-requests; r.Host != "192.0.2.1:443" {
		t.Errorf("the proxy was asked for %s", r.Host)
	}
	if _, err := DialTCP(soon(t), "127.0.0.1:1", "", nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("DialTCP to nobody = %v", err)
	}
	if _, err := DialTCP(soon(t), target, "http://127.0.0.1:1", nil); err == nil {
		t.Error("DialTCP through no proxy succeeded")
	} else if _, ok := errors.AsType[*ProxyError](err); !ok {
		t.Errorf("DialTCP through no proxy = %v, want a *ProxyError", err)
	}
}
