package relay

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The headers in which a proxy sends the client's certificate, and those of the authorities
// between that and the root (RFC 9440).
const (
	certHeader  = "Client-Cert"
	chainHeader = "Client-Cert-Chain"
)

const maxChain = 8 // certificates

// identify returns req with the certificate of the client that a trusted proxy or relay has
// sent it for, in place of that one's own. Of everybody else, the headers count for nothing.
func (r *Relay) identify(req *http.Request) (*http.Request, error) {
	values := req.Header.Values(certHeader)
	if r.opts.ClientCAs == nil {
		values = nil
	}
	if !r.trusts(req.RemoteAddr) || len(values) == 0 && req.Header.Get(ViaHeader) == "" {
		return req, nil
	}
	out := req.WithContext(req.Context())
	out.TLS = nil
	if len(values) == 0 {
		return out, nil
	}
	certs, err := parseCerts(values, req.Header.Values(chainHeader))
	if err != nil {
		return req, refuse(http.StatusBadRequest, "%s: %w", certHeader, err)
	}
	opts := x509.VerifyOptions{Roots: r.opts.ClientCAs(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(opts)
	if err != nil {
		return req, refuse(http.StatusForbidden, "%s: %w", certHeader, err)
	}
	out.TLS = &tls.ConnectionState{PeerCertificates: certs, VerifiedChains: chains}
	return out, nil
}

// parseCerts returns the certificates in the values of both headers, that of the client first.
func parseCerts(leaf, chain []string) (certs []*x509.Certificate, err error) {
	list := leaf
	if text := strings.Join(chain, ","); text != "" {
		list = slices.Concat(list, strings.Split(text, ","))
	}
	if len(leaf) != 1 || len(list) > maxChain {
		return nil, errors.New("too many certificates")
	}
	for _, item := range list {
		text, begins := strings.CutPrefix(strings.Trim(item, " \t"), ":")
		text, ends := strings.CutSuffix(text, ":")
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !begins || !ends {
			return nil, errors.New("want base64 between colons")
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("not a certificate: %w", err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// setCert replaces the headers by those for the verified certificate of req.
func setCert(h http.Header, req *http.Request) {
	h.Del(certHeader)
	h.Del(chainHeader)
	if req.TLS == nil || len(req.TLS.VerifiedChains) == 0 {
		return
	}
	chain := req.TLS.VerifiedChains[0]
	h.Set(certHeader, encodeCert(chain[0]))
	for _, c := range chain[1:max(len(chain)-1, 1)] { // without the root
		h.Add(chainHeader, encodeCert(c))
	}
}

func encodeCert(c *x509.Certificate) string {
	return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"
}
