package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/connectivity"
)

// answering has a server that answers each connection so and ends it, but not by a
// reset, which may overtake the answer.
func answering(t *testing.T, network, addr, answer string) net.Listener {
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

// TestWrongProtocol has upstreams that speak something else: not what gRPC says of
// them, but what they are and what to do.
func TestWrongProtocol(t *testing.T) {
	t.Parallel()
	config := &tls.Config{InsecureSkipVerify: true}
	for name, tt := range map[string]struct {
		addr   string
		config *tls.Config
		want   string
	}{
		"neither": {answering(t, "tcp", "127.0.0.1:0", "").Addr().String(), nil, "it closed the connection before HTTP/2 began: does it speak TLS? (see --tls)"},
		"TLS":     {answering(t, "tcp", "127.0.0.1:0", "\x15\x03\x01\x00\x02\x02\x46").Addr().String(), nil, "it speaks TLS (see --tls)"},
		"HTTP/1":  {answering(t, "tcp", "127.0.0.1:0", "HTTP/1.1 400 Bad Request\r\n\r\n").Addr().String(), nil, "it doesn't speak HTTP/2: is it a gRPC server?"},
		"no TLS":  {answering(t, "tcp", "127.0.0.1:0", "").Addr().String(), config, "it closed the connection in the TLS handshake: does it speak TLS? (see --tls)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cc := through(t, upstream(t, tt.addr, &UpstreamOptions{TLS: tt.config, TLSHint: "see --tls"}))
			for range 3 {
				wantUnavailable(t, cc, "upstream "+tt.addr+": "+tt.want)
			}
		})
	}
}

// TestKnownProtocol wants no such question about an upstream that was well before.
func TestKnownProtocol(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := serveOn(t, l, nil, rawOptions(echo)...)
	u := upstream(t, "unix:"+path, &UpstreamOptions{TLSHint: "see --tls"})
	cc := through(t, u)
	if _, err := invoke(t.Context(), cc, method, nil); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	if !u.Conn().WaitForStateChange(t.Context(), connectivity.Ready) {
		t.Fatal("still connected")
	}
	answering(t, "unix", path, "")
	wantUnavailable(t, cc, "upstream unix:"+path+": it closed the connection before HTTP/2 began")
}
