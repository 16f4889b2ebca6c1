package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestNewUpstream(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:1", "localhost:1", "[::1]:1", ":1", "unix:x", "unix:///run/x"} {
		if got := upstream(t, addr, nil).Addr(); got != addr {
			t.Errorf("Addr() = %q, want %q", got, addr)
		}
	}
	for _, addr := range []string{"", "localhost", "localhost:", "unix:", "a:b:c"} {
		if u, err := NewUpstream(addr, nil); err == nil || !strings.HasPrefix(err.Error(), "proxy: upstream ") {
			t.Errorf("NewUpstream(%q) = %v, %v", addr, u, err)
		}
	}
}

// wantUnavailable makes a call and expects the status Unavailable with that message.
func wantUnavailable(t *testing.T, cc *grpc.ClientConn, want string) {
	t.Helper()
	_, err := invoke(t.Context(), cc, method, nil)
	if st := status.Convert(err); st.Code() != codes.Unavailable || st.Message() != want {
		t.Errorf("got %v: %s\nwant Unavailable: %s", st.Code(), st.Message(), want)
	}
}

// noSocket is the reason when there is no socket at a path.
func noSocket() string {
	if runtime.GOOS == "windows" {
		return "connection refused"
	}
	return "no such file or directory"
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	missing := "unix:" + filepath.Join(t.TempDir(), "missing")
	for addr, cause := range map[string]string{"127.0.0.1:1": "connection refused", missing: noSocket()} {
		cc := proxyTo(t, upstream(t, addr, nil))
		for range 2 {
			wantUnavailable(t, cc, "upstream "+addr+": "+cause)
		}
	}
}

// TestReconnect stops and starts an upstream: each call gets its current state.
func TestReconnect(t *testing.T) {
	t.Parallel()
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	cc := proxyTo(t, upstream(t, addr, nil))
	for range 3 {
		wantUnavailable(t, cc, "upstream "+addr+": "+noSocket())
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", strings.TrimPrefix(addr, "unix:"))
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan struct{}, 1)
		srv := serveOn(t, l, nil, rawOptions(func(s grpc.ServerStream) error {
			begun <- struct{}{}
			return echo(s)
		})...)
		if got, err := invoke(t.Context(), cc, method, []byte("x")); string(got) != "x" || err != nil {
			t.Fatalf("reconnected: %q, %v", got, err)
		}
		wait(t, begun, "call")
		s := open(t.Context(), t, cc, method)
		wait(t, begun, "call")
		srv.Stop()
		_, err = receive(s)
		if got, want := status.Convert(err).Message(), "upstream "+addr+": connection lost: "; status.Code(err) != codes.Unavailable || !strings.HasPrefix(got, want) {
			t.Fatalf("lost: %v, want %s…", err, want)
		}
	}
}

// TestClosedUpstream closes an upstream during a call: the status is Unavailable, not
// Canceled.
func TestClosedUpstream(t *testing.T) {
	t.Parallel()
	u := upstream(t, serveRaw(t, echo), nil)
	cc := proxyTo(t, u)
	s := open(t.Context(), t, cc, method)
	send(t, s, "x")
	if _, err := receive(s); err != nil {
		t.Fatal(err)
	}
	_ = u.Close()
	want := "upstream " + u.Addr() + ": closed"
	if _, err := receive(s); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	wantUnavailable(t, cc, want)
}

// certificate returns a self-signed certificate for localhost, alias.test and 127.0.0.1,
// and a pool with it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "alias.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// replyAuthority replies with the :authority of the call.
func replyAuthority(s grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	return s.SendMsg(newRawMessage([]byte(strings.Join(md[":authority"], ","))))
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	plain := serveRaw(t, replyAuthority)
	secure := serveRaw(t, replyAuthority, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	tests := []struct {
		name     string
		addr     string
		opts     *UpstreamOptions
		caller   string
		upstream string
	}{
		{"the caller's", plain, nil, "caller.test:1", "caller.test:1"},
		{"set", plain, &UpstreamOptions{Authority: "set.test"}, "caller.test", "set.test"},
		{"tls, the caller's is valid", secure, &UpstreamOptions{TLS: &tls.Config{RootCAs: pool}}, "alias.test:1", "alias.test:1"},
		{"tls, the caller's is not", secure, &UpstreamOptions{TLS: &tls.Config{RootCAs: pool}}, "caller.test", secure},
		{"tls, with a server name", secure, &UpstreamOptions{TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}}, "caller.test", "localhost"},
		{"tls, set", secure, &UpstreamOptions{TLS: &tls.Config{RootCAs: pool}, Authority: "alias.test"}, "localhost", "alias.test"},
		{"tls, both", secure, &UpstreamOptions{TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}, Authority: "set.test"}, "caller.test", "set.test"},
		{"tls, not verified", secure, &UpstreamOptions{TLS: &tls.Config{InsecureSkipVerify: true}}, "caller.test", secure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cc := proxyTo(t, upstream(t, tt.addr, tt.opts))
			for range 2 {
				got, err := invoke(t.Context(), cc, method, nil, grpc.CallAuthority(tt.caller))
				if string(got) != tt.upstream || err != nil {
					t.Errorf("the upstream got %q, %v, want %q", got, err, tt.upstream)
				}
			}
		})
	}
}

func TestTLSFailures(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	plain := serveRaw(t, echo)
	secure := serveRaw(t, echo, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	tests := []struct {
		name, addr string
		tls        *tls.Config
		want       string // prefix, after the upstream's address
	}{
		{"unknown authority", secure, &tls.Config{}, "tls: failed to verify certificate: x509: "},
		{"another name", secure, &tls.Config{RootCAs: pool, ServerName: "other.test"}, "tls: failed to verify certificate: x509: certificate is valid for "},
		{"upstream without TLS", plain, &tls.Config{RootCAs: pool}, "it doesn't speak TLS"},
		{"upstream with TLS", secure, nil, "it closed the connection before HTTP/2 began: does it speak TLS?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cc := proxyTo(t, upstream(t, tt.addr, &UpstreamOptions{TLS: tt.tls}))
			for range 2 {
				_, err := invoke(t.Context(), cc, method, nil)
				want := "upstream " + tt.addr + ": " + tt.want
				if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.HasPrefix(st.Message(), want) {
					t.Errorf("got %v, want %s…", err, want)
				}
			}
		})
	}
}

// TestBlackHole calls an upstream that accepts connections but sends nothing: the caller's
// deadline applies.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	cc := proxyTo(t, upstream(t, l.Addr().String(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := invoke(ctx, cc, method, nil); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

func FuzzConnectionError(f *testing.F) {
	f.Add(`connection error: desc = "transport: Error while dialing: connection refused"`)
	f.Add(`closing transport due to: connection error: desc = "error reading from server: read tcp 1->2: read: reset", received prior goaway: code: NO_ERROR`)
	f.Add(`connection error: desc = "`)
	f.Fuzz(func(t *testing.T, s string) {
		if text, ok := parseConnectionError(s); len(text) > 3*len(s)+len("connection lost: ") || !ok && text != "" {
			t.Errorf("parseConnectionError(%q) = %q, %t", s, text, ok)
		}
	})
}
