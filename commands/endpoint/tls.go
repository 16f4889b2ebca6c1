package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/ws"
)

// TLSOptions are the values of the TLS flags for one side.
type TLSOptions struct {
	Cert, Key, CACert string // paths; may be empty
	ServerName        string
	Insecure          bool
}

// TLS is the configuration of TLS for one side, from files that may change.
type TLS struct {
	prefix     string // of the names of the flags
	serverName string
	insecure   bool

	certificate *source[[]tls.Certificate] // nil: none
	authorities *source[*x509.CertPool]    // nil: the system's when dialing, none when accepting
}

// NewTLS reads the files. The names of their flags begin with prefix, which is "--"
// or "--upstream-".
func NewTLS(prefix string, o *TLSOptions) (*TLS, error) {
	t := &TLS{prefix: prefix, insecure: o.Insecure}
	var err error
	if t.serverName, err = outbound.ASCIIHost(o.ServerName); err != nil {
		return nil, usage.Errorf("%sservername %w", prefix, err)
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, usage.Errorf("%[1]scert and %[1]skey go together", prefix)
	}
	if o.Cert != "" {
		t.certificate, err = newSource(func() ([]tls.Certificate, error) {
			cert, err := textfile.Read(o.Cert)
			if err != nil {
				return nil, err
			}
			key, err := textfile.Read(o.Key)
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair(cert, key)
			return []tls.Certificate{pair}, err
		}, o.Cert, o.Key)
		if err != nil {
			return nil, usage.Errorf("%[1]scert %[2]s, %[1]skey %[3]s: %[4]w", prefix, o.Cert, o.Key, err)
		}
	}
	if o.CACert != "" {
		t.authorities, err = newSource(func() (*x509.CertPool, error) {
			pem, err := textfile.Read(o.CACert)
			if err != nil {
				return nil, err
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(pem) {
				return nil, errors.New("no PEM certificate in it")
			}
			return pool, nil
		}, o.CACert)
		if err != nil {
			return nil, usage.Errorf("%scacert %s: %w", prefix, o.CACert, err)
		}
	}
	return t, nil
}

// Insecure reports whether certificates are not verified.
func (t *TLS) Insecure() bool { return t.insecure }

// Flag returns the name of a flag that was set, with its dashes; "" if none was.
func (t *TLS) Flag() string {
	switch {
	case t.certificate != nil:
		return t.prefix + "cert"
	case t.authorities != nil:
		return t.prefix + "cacert"
	case t.serverName != "":
		return t.prefix + "servername"
	case t.insecure:
		return t.prefix + "insecure"
	}
	return ""
}

// Client returns the configuration for the next dial, with the files as they are now.
func (t *TLS) Client(logger *slog.Logger) *tls.Config {
	config := &tls.Config{
		ServerName:         t.serverName,
		InsecureSkipVerify: t.insecure, //nolint:gosec // the user asked for it, and it is logged
		MinVersion:         tls.VersionTLS12,
	}
	if t.certificate != nil {
		config.Certificates = t.certificate.get(logger)
	}
	if t.authorities != nil {
		config.RootCAs = t.authorities.get(logger)
	}
	return config
}

// Authorities returns those in the file as it is now; nil without one.
func (t *TLS) Authorities(logger *slog.Logger) *x509.CertPool {
	if t.authorities == nil {
		return nil
	}
	return t.authorities.get(logger)
}

// Expires returns when the certificate of this side expires, or the zero time without one.
func (t *TLS) Expires(logger *slog.Logger) (_ time.Time) {
	if t.certificate == nil {
		return
	}
	if certs := t.certificate.get(logger); len(certs) > 0 && certs[0].Leaf != nil {
		return certs[0].Leaf.NotAfter
	}
	return
}

// DemandsClientCertificates reports whether a listener demands certificates of clients.
func (t *TLS) DemandsClientCertificates() bool { return t.authorities != nil && t.certificate != nil }

// Server returns the configuration of a listener, which checks the files at each
// handshake; nil without a certificate.
func (t *TLS) Server(logger *slog.Logger) *tls.Config {
	if t.certificate == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := &tls.Config{Certificates: t.certificate.get(logger), MinVersion: tls.VersionTLS12}
			if t.authorities != nil {
				config.ClientCAs = t.authorities.get(logger)
				config.ClientAuth = tls.RequireAndVerifyClientCert
			}
			return config, nil
		},
	}
}

// batchListener accepts connections for TLS, whose records are sent in batches.
type batchListener struct{ net.Listener }

func (l batchListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ws.BatchRecords(conn), nil
}
