package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/wstun/wstun/tunnel/netdiag"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	server, authority := proxyCertificate()
	server.NextProtos = []string{"h2"}
	demanding := server.Clone()
	demanding.ClientAuth = tls.RequireAnyClientCert
	echo := func(config *tls.Config) string {
		return startProxyPeer(t, func(conn net.Conn) {
			c := tls.Server(conn, config)
			_, _ = io.Copy(c, c)
		})
	}
	for _, test := range []struct {
		name, addr, serverName string
		want                   func(error) bool // checks the last reported error; nil: success
	}{
		{"for the authority", echo(server), "", nil},
		{"for another name", echo(server), "example.com", nil},
		{"for a wrong name", echo(server), "other.test", func(err error) bool {
			_, ok := errors.AsType[x509.HostnameError](err)
			return ok
		}},
		{"no TLS", startProxyPeer(t, answerHTTP), "", netdiag.NotTLS},
		{"client certificate", echo(demanding), "", func(err error) bool { return netdiag.Alert(err) == "tls: certificate required" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			raw, err := Dial(t.Context(), Addr{Network: "tcp", Address: test.addr}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			var reported []error
			creds := Credentials(&tls.Config{RootCAs: authority, ServerName: test.serverName}, func(err error) { reported = append(reported, err) }).Clone()
			if got := creds.Info().ServerName; got != "" { //nolint:staticcheck // as gRPC reads it
				t.Errorf("Info().ServerName = %q, want none", got)
			}
			conn, _, err := creds.ClientHandshake(t.Context(), test.addr, raw)
			if err == nil {
				_, _ = io.WriteString(conn, "x")
				_, err = conn.Read(make([]byte, 1))
			}
			last := reported[len(reported)-1]
			if !errors.Is(err, last) || (last == nil) != (test.want == nil) || test.want != nil && !test.want(last) {
				t.Errorf("%v, reported %v", err, reported)
			}
		})
	}
}

// answerHTTP sends an HTTP response without TLS.
func answerHTTP(conn net.Conn) {
	_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
}
