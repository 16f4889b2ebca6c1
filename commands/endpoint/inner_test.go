package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// writePair writes a certificate and its key.
func writePair(t *testing.T, cert, key string, pair tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The files are read again when they have changed, and the earliest end of a certificate counts.
func TestInnerReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	authority := tunneltest.NewAuthority(t, "workers")
	writePair(t, cert, key, authority.Issue("w-1", time.Hour))
	o := &Options{Accept: "127.0.0.1:0", Inner: InnerOptions{Cert: cert, Key: key}}
	o.WorkerFlags()
	e, err := NewDialing(o)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	session := e.DialOptions(logger).Session.TLS
	if session == nil || session.Client != nil {
		t.Fatalf("the TLS of a worker is %+v", session)
	}
	before := session.Server().Certificates[0].Leaf
	writePair(t, cert, key, authority.Issue("another", 2*time.Hour))
	after := session.Server().Certificates[0].Leaf
	if before.DNSNames[0] != "w-1" || after.DNSNames[0] != "another" {
		t.Errorf("the certificates are for %v and %v", before.DNSNames, after.DNSNames)
	}
	if got := e.Expires(logger); !got.Equal(after.NotAfter) {
		t.Errorf("Expires = %v, want %v", got, after.NotAfter)
	}
}

func TestInnerHint(t *testing.T) {
	t.Parallel()
	alert := func(text string) error { return &net.OpError{Op: "remote error", Err: errors.New("tls: " + text)} }
	given := usage.Given{"inner-cacert": true, "inner-cert": true}
	for _, test := range []struct {
		name  string // of the Worker, at the engineer
		late  bool   // after the handshake
		err   error
		given usage.Given
		want  string // "": none
	}{
		{"w", false, x509.UnknownAuthorityError{}, nil, "name the authority of the worker's certificate with --inner-cacert"},
		{"w", false, x509.UnknownAuthorityError{}, given, "something else answers for w"},
		{"w", false, x509.HostnameError{Certificate: &x509.Certificate{}, Host: "w"}, nil, "it needs a DNS name w"},
		{"w", false, x509.CertificateInvalidError{Reason: x509.Expired}, nil, "--inner-cert renewed"},
		{"w", false, alert("certificate required"), nil, "give it with --inner-cert and --inner-key"},
		{"w", true, alert("unknown certificate authority"), given, "doesn't trust the client certificate of --inner-cert"},
		{"w", false, tls.RecordHeaderError{}, nil, "something else may answer for w"},
		{"w", false, mux.ErrReset, nil, "something else may answer for w"},
		{"w", false, wsmux.ErrTruncated, nil, "something else may answer for w"},
		{"w", true, wsmux.ErrTruncated, nil, hintChanged},
		{"w", false, errors.New("other"), nil, ""},
		{"", false, x509.UnknownAuthorityError{}, nil, "than that of --inner-cacert has issued the caller's"},
		{"", false, errors.New("tls: client didn't provide a certificate"), nil, "the caller needs a client certificate"},
		{"", false, alert("bad certificate"), nil, "the caller refuses the certificate of --inner-cert"},
		{"", true, wsmux.ErrTruncated, nil, hintChanged},
		{"", false, errors.New("other"), nil, ""},
	} {
		err := error(&wsmux.TLSError{Name: test.name, Handshake: !test.late, Err: test.err})
		if got := InnerHint(err, test.given); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("the hint for %v is %q, want %q", err, got, test.want)
		}
	}
	if InnerHint(x509.UnknownAuthorityError{}, nil) != "" || InnerRefused(alert("certificate required")) {
		t.Error("errors of the WebSocket's TLS are taken for those inside")
	}
}
