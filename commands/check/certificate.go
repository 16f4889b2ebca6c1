package check

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// renewWithin is the remaining validity below which a certificate gets a note.
const renewWithin = 14 * 24 * time.Hour

// describeTLS describes the TLS version, the server's certificate, and when the
// first certificate of the chain expires.
func describeTLS(state *tls.ConnectionState, now time.Time) Result {
	chain, verified := state.PeerCertificates, len(state.VerifiedChains) > 0
	if verified {
		chain = state.VerifiedChains[0]
	}
	leaf := chain[0] // a server always has one
	subject, issuers := name(leaf), issuer(leaf)
	if verified && state.ServerName != "" {
		subject = state.ServerName
	}
	earliest := leaf // to expire
	for i, cert := range chain[1:] {
		if i > 0 {
			issuers += ", " + name(cert)
		}
		if cert.NotAfter.Before(earliest.NotAfter) {
			earliest = cert
		}
	}
	r := Result{Detail: fmt.Sprintf("%s, %s, issued by %s, %s", tls.VersionName(state.Version), subject, issuers, remaining(earliest, now))}
	if earliest != leaf {
		r.Detail += " for the certificate of " + name(earliest)
	}
	if !verified {
		r.Detail += ", not verified"
	}
	if earliest.NotAfter.Sub(now) < renewWithin {
		r.Note, r.Hint = true, "renew the certificate of "+name(earliest)
	}
	return r
}

// describeCertificate describes the subject, the issuer and the validity of cert.
func describeCertificate(cert *x509.Certificate, now time.Time) string {
	return fmt.Sprintf("certificate of %s, issued by %s, %s", name(cert), issuer(cert), remaining(cert, now))
}

// remaining describes how long cert is still valid.
func remaining(cert *x509.Certificate, now time.Time) string {
	const day = 24 * time.Hour
	switch left := cert.NotAfter.Sub(now); {
	case now.Before(cert.NotBefore):
		return "valid from " + cert.NotBefore.UTC().Format(time.DateTime) + " UTC"
	case left < 0:
		return "expired at " + cert.NotAfter.UTC().Format(time.DateTime) + " UTC"
	case left < day:
		return "less than a day left"
	case left < 2*day:
		return "1 day left"
	default:
		return fmt.Sprintf("%d days left", left/day)
	}
}

// name is the common name of cert's subject, or else its first DNS name, IP address
// or organization.
func name(cert *x509.Certificate) string {
	switch {
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	case len(cert.Subject.Organization) > 0:
		return cert.Subject.Organization[0]
	}
	return "no name"
}

// issuer is the name of cert's issuer, or "itself".
func issuer(cert *x509.Certificate) string {
	issuing := x509.Certificate{Subject: cert.Issuer}
	if issuing.Subject.String() == cert.Subject.String() {
		return "itself"
	}
	return name(&issuing)
}
