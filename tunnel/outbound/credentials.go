package outbound

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// Credentials returns TLS credentials for a gRPC client. They verify the server's
// certificate for config.ServerName, or, if that is empty, for the authority of the
// calls. They call report with the result of each handshake (nil for success), and with
// the alert if the server refuses the client afterwards, because gRPC returns handshake
// errors only as text. report must not block: it runs in gRPC's goroutines.
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

// Info returns no server name, because gRPC would use that as the authority.
func (t *tlsCredentials) Info() credentials.ProtocolInfo {
	info := t.TransportCredentials.Info()
	info.ServerName = "" //nolint:staticcheck // deprecated, but gRPC still reads it
	return info
}

func (t *tlsCredentials) Clone() credentials.TransportCredentials {
	return &tlsCredentials{t.TransportCredentials.Clone(), t.serverName, t.report}
}

// alertConn calls report with a TLS alert of the server.
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
