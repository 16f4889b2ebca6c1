// Package packaging has the files of a release besides the program, and tests of them.
package packaging

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestUnits checks the units with systemd, and that they are hardened.
func TestUnits(t *testing.T) {
	need(t, "systemd-analyze")
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 3 {
		t.Fatal(units, err)
	}
	dir := t.TempDir()
	exposure := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, strings.Replace(filepath.Base(unit), "@", "@x", 1))
		installed := strings.ReplaceAll(string(text), "/usr/bin/wstun", "/bin/true") // which must exist
		if err := os.WriteFile(path, []byte(installed), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := run(t, nil, "systemd-analyze", "verify", "--man=no", path); len(out) > 0 {
			t.Errorf("%s: %s", unit, out)
		}
		m := exposure.FindSubmatch(run(t, nil, "systemd-analyze", "security", "--offline=true", path))
		if m == nil {
			t.Fatalf("%s: no exposure level", unit)
		}
		if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level >= 2 {
			t.Errorf("%s: exposure %s, want less than 2", unit, m[1])
		}
	}
}

// TestHAProxy lets HAProxy check the configurations of the examples, and looks for the headers
// that a load balancer in --trusted-proxy must remove.
func TestHAProxy(t *testing.T) {
	need(t, "haproxy")
	certificate := writeCertificate(t)
	for _, path := range []string{"compose/haproxy.cfg", "kubernetes/fleet/haproxy.cfg"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{"X-Forwarded-For", "Wstun-Via", "Client-Cert -m beg"} {
			if !strings.Contains(string(text), "http-request del-header "+header+"\n") {
				t.Errorf("%s lets %s of clients through", path, header)
			}
		}
		config := filepath.Join(t.TempDir(), "haproxy.cfg")
		if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), "/tls/tls.crt", certificate)), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, nil, "haproxy", "-c", "-f", config)
	}
}

// writeCertificate writes tls.crt and tls.key, and returns the path of the former.
func writeCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"relay.example"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "tls.crt")
}
