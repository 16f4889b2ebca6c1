package commands

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
)

// tlsOptions are the TLS flags of one side.
type tlsOptions struct {
	cert, key, cacert string // paths
	serverName        string
	insecure          bool

	server *tls.Config // of the accepting side; nil: no TLS
}

// loadTLS reads what the TLS flags name.
func (e *endpoint) loadTLS() error {
	o := &e.tls
	if (o.cert == "") != (o.key == "") {
		return usagef("--cert and --key go together")
	}
	var certificates []tls.Certificate
	if o.cert != "" {
		certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return usagef("--cert %s, --key %s: %w", o.cert, o.key, err)
		}
		certificates = []tls.Certificate{certificate}
	}
	var authorities *x509.CertPool
	if o.cacert != "" {
		pem, err := os.ReadFile(o.cacert)
		if err != nil {
			return usagef("--cacert: %w", err)
		}
		authorities = x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return usagef("--cacert %s: no PEM certificate in it", o.cacert)
		}
	}
	if e.url == "" {
		return o.loadServer(certificates, authorities)
	}
	if u, err := url.Parse(e.url); err == nil && (u.Scheme == "ws" || u.Scheme == "http") {
		if o.cert != "" || o.cacert != "" || o.serverName != "" || o.insecure {
			return &usageError{err: errors.New("TLS flags with a URL that has no TLS"), hint: "use wss:// instead of " + u.Scheme + "://"}
		}
	}
	e.dialOptions.TLS = &tls.Config{
		Certificates:       certificates,
		RootCAs:            authorities,
		ServerName:         o.serverName,
		InsecureSkipVerify: o.insecure, //nolint:gosec // asked for, and logged
		MinVersion:         tls.VersionTLS12,
	}
	return nil
}

func (o *tlsOptions) loadServer(certificates []tls.Certificate, authorities *x509.CertPool) error {
	if len(certificates) == 0 {
		if authorities != nil {
			return &usageError{err: errors.New("--cacert demands client certificates, which needs TLS"), hint: "give this side's certificate with --cert and --key"}
		}
		return nil
	}
	o.server = &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12}
	if authorities != nil {
		o.server.ClientCAs = authorities
		o.server.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return nil
}
