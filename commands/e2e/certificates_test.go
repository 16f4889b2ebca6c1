//go:build unix

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeCertificates writes to dir, as NAME.pem and NAME.key, two authorities (ca
// and other), certificates by ca for a server at 127.0.0.1 (server), also at *.example (example),
// and for workers (w-1 and w-2), and certificates by both for a client (client and otherclient),
// which expire after validity. client, w-1 and w-2 have their names as DNS names. check ends
// the test on an error.
func writeCertificates(dir string, validity time.Duration, check func(error)) {
	f := certificateFolder{dir, time.Now().Add(validity), check}
	ca, caKey := f.certificate("ca", nil, nil)
	f.certificate("server", ca, caKey)
	f.certificate("example", ca, caKey)
	f.certificate("client", ca, caKey)
	f.certificate("w-1", ca, caKey)
	f.certificate("w-2", ca, caKey)
	other, otherKey := f.certificate("other", nil, nil)
	f.certificate("otherclient", other, otherKey)
}

type certificateFolder struct {
	dir     string
	expires time.Time
	check   func(error)
}

// certificate writes a certificate signed by ca, or a self-signed authority if ca is nil.
func (f certificateFolder) certificate(name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     f.expires,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	switch name {
	case "client", "w-1", "w-2":
		template.DNSNames = []string{name}
	case "example":
		template.DNSNames = []string{"*.example"}
	}
	if ca == nil {
		ca, caKey = template, key
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	f.check(err)
	cert, err := x509.ParseCertificate(der)
	f.check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	f.check(err)
	f.writePEM(name+".pem", "CERTIFICATE", der)
	f.writePEM(name+".key", "PRIVATE KEY", keyDER)
	return cert, key
}

func (f certificateFolder) writePEM(file, kind string, der []byte) {
	f.check(os.WriteFile(filepath.Join(f.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
