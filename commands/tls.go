package commands

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"

	"github.com/wstun/wstun/tunnel/ws"
)

// tlsFiles are the TLS flags of one side, and what the files that they name
// hold. Those are followed: see source.
type tlsFiles struct {
	serverName string
	insecure   bool

	certificate *source[[]tls.Certificate] // nil: none
	authorities *source[*x509.CertPool]    // nil: the system's when dialing, none when accepting
}

// newTLSFiles reads the files cert and key, and cacert, which may be empty. Their
// flags are those names with prefix before them.
func newTLSFiles(prefix, cert, key, cacert string) (*tlsFiles, error) {
	f := &tlsFiles{}
	var err error
	if (cert == "") != (key == "") {
		return nil, usagef("%[1]scert and %[1]skey go together", prefix)
	}
	if cert != "" {
		f.certificate, err = newSource(func() ([]tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return []tls.Certificate{pair}, err
		}, cert, key)
		if err != nil {
			return nil, usagef("%[1]scert %[2]s, %[1]skey %[3]s: %[4]w", prefix, cert, key, err)
		}
	}
	if cacert != "" {
		f.authorities, err = newSource(func() (*x509.CertPool, error) {
			pem, err := os.ReadFile(cacert)
			if err != nil {
				return nil, err
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(pem) {
				return nil, errors.New("no PEM certificate in it")
			}
			return pool, nil
		}, cacert)
		if err != nil {
			return nil, usagef("%scacert %s: %w", prefix, cacert, err)
		}
	}
	return f, nil
}

// checkTLS says what is wrong with the TLS flags for what e does.
func (e *endpoint) checkTLS() error {
	f := e.tls
	if e.url == "" {
		if f.authorities != nil && f.certificate == nil {
			return &usageError{err: errors.New("--cacert demands client certificates, which needs TLS"), hint: "give this side's certificate with --cert and --key"}
		}
		return nil
	}
	if u, err := url.Parse(e.url); err == nil && (u.Scheme == "ws" || u.Scheme == "http") {
		if f.certificate != nil || f.authorities != nil || f.serverName != "" || f.insecure {
			return &usageError{err: errors.New("TLS flags with a URL that has no TLS"), hint: "use wss:// instead of " + u.Scheme + "://"}
		}
	}
	return nil
}

// client is the configuration for the next dial.
func (f *tlsFiles) client(logger *slog.Logger) *tls.Config {
	config := &tls.Config{
		ServerName:         f.serverName,
		InsecureSkipVerify: f.insecure, //nolint:gosec // asked for, and logged
		MinVersion:         tls.VersionTLS12,
	}
	if f.certificate != nil {
		config.Certificates = f.certificate.get(logger)
	}
	if f.authorities != nil {
		config.RootCAs = f.authorities.get(logger)
	}
	return config
}

// server is the configuration of a listener, which looks at the files at each
// handshake; nil without a certificate.
func (f *tlsFiles) server(logger *slog.Logger) *tls.Config {
	if f.certificate == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := &tls.Config{Certificates: f.certificate.get(logger), MinVersion: tls.VersionTLS12}
			if f.authorities != nil {
				config.ClientCAs = f.authorities.get(logger)
				config.ClientAuth = tls.RequireAndVerifyClientCert
			}
			return config, nil
		},
	}
}

// batchListener accepts connections for TLS to run on.
type batchListener struct{ net.Listener }

func (l batchListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ws.BatchRecords(conn), nil
}
