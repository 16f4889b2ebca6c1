package outbound

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// Credentials returns TLS credentials for a gRPC client. The server's certificate
// is verified for config.ServerName whatever the authority of the calls is, or
// for the authority if that is empty. gRPC reports handshake errors only as text,
// so report receives the outcome of each handshake, nil for success, and the
// alert of a server that refuses the client after it. gRPC's goroutines wait for
// report to return.
func Credentials(config *tls.Config, report func(error)) credentials.TransportCredentials {
	return &tlsCredentials{credentials.NewTLS(config), config.ServerName, report}
}

type tlsCredentials struct {
	credentials.TransportCredentials
	serverName string // empty: the authority
	report     func(error)
}

func (t *tlsCredentials) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if t.serverName != "" {
		authority = t.serverName
	}
	conn, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, c)
	t.report(err)
	if err != nil {
		return nil, nil, err
	}
	return &alertConn{conn, t.report}, info, nil
}

// Info leaves out the server name, because gRPC takes it for the authority.
func (t *tlsCredentials) Info() credentials.ProtocolInfo {
	info := t.TransportCredentials.Info()
	info.ServerName = "" //nolint:staticcheck // deprecated, but gRPC still reads it
	return info
}

func (t *tlsCredentials) Clone() credentials.TransportCredentials {
	return &tlsCredentials{t.TransportCredentials.Clone(), t.serverName, t.report}
}

// alertConn reports a TLS alert of the server.
type alertConn struct {
	net.Conn
	report func(error)
}

func (c *alertConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if netdiag.Alert(err) != "" {
		c.report(err)
	}
	return n, err
}
