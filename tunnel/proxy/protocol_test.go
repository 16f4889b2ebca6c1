package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/connectivity"
)

// serveAnswer serves connections: it sends answer, then closes. It avoids a reset, which
// could overtake the answer.
func serveAnswer(t *testing.T, network, addr, answer string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l
}

// TestWrongProtocol has upstreams that don't speak HTTP/2: the error names their protocol
// and has a hint.
func TestWrongProtocol(t *testing.T) {
	t.Parallel()
	config := &tls.Config{InsecureSkipVerify: true}
	for name, tt := range map[string]struct {
		addr   string
		config *tls.Config
		want   string
	}{
		"neither": {serveAnswer(t, "tcp", "127.0.0.1:0", "").Addr().String(), nil, "it closed the connection before HTTP/2 began: does it speak TLS? (see --tls)"},
		"TLS":     {serveAnswer(t, "tcp", "127.0.0.1:0", "\x15\x03\x01\x00\x02\x02\x46").Addr().String(), nil, "it speaks TLS (see --tls)"},
		"HTTP/1":  {serveAnswer(t, "tcp", "127.0.0.1:0", "HTTP/1.1 400 Bad Request\r\n\r\n").Addr().String(), nil, "it doesn't speak HTTP/2: is it a gRPC server?"},
		"no TLS":  {serveAnswer(t, "tcp", "127.0.0.1:0", "").Addr().String(), config, "it closed the connection in the TLS handshake: does it speak TLS? (see --tls)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cc := proxyTo(t, upstream(t, tt.addr, &UpstreamOptions{TLS: tt.config, TLSHint: "see --tls"}))
			for range 3 {
				wantUnavailable(t, cc, "upstream "+tt.addr+": "+tt.want)
			}
		})
	}
}

// TestKnownProtocol expects no TLS hint for an upstream that has spoken HTTP/2 before.
func TestKnownProtocol(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := serveOn(t, l, nil, rawOptions(echo)...)
	u := upstream(t, "unix:"+path, &UpstreamOptions{TLSHint: "see --tls"})
	cc := proxyTo(t, u)
	if _, err := invoke(t.Context(), cc, method, nil); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	if !u.Conn().WaitForStateChange(t.Context(), connectivity.Ready) {
		t.Fatal("still connected")
	}
	serveAnswer(t, "unix", path, "")
	wantUnavailable(t, cc, "upstream unix:"+path+": it closed the connection before HTTP/2 began")
}
