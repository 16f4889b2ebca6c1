package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// testCert is a certificate with its key.
type testCert struct {
	*x509.Certificate

	key *ecdsa.PrivateKey
}

// issue returns a certificate that the parent has issued, or that has issued itself if that is
// nil. Its names are all name; change, which may be nil, changes it.
func issue(t *testing.T, parent *testCert, name string, change func(*x509.Certificate)) *testCert {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, BasicConstraintsValid: true, IsCA: strings.HasSuffix(name, "-ca"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	template.Subject.CommonName = name
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent = &testCert{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, &key.PublicKey, parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCert{c, key}
}

func (c *testCert) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Certificate)
	return pool
}

// byName lets Workers in, and engineers with a certificate for a name. It records the names.
type byName struct {
	mu    sync.Mutex
	names []string
}

func (b *byName) authorize(r *http.Request, role Role, _ string) (Grant, error) {
	name := ""
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		name = r.TLS.VerifiedChains[0][0].DNSNames[0]
	}
	if role == Dial {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.names = append(b.names, name)
	}
	return Grant{Subject: name}, nil
}

func (b *byName) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.names = nil }()
	return strings.Join(b.names, " ")
}

// The relay that has the Worker knows the certificate of an engineer that has dialed another
// one, with TLS or through a load balancer, and only that.
func TestCertThroughHop(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "our-ca", nil)
	middle := issue(t, ca, "middle-ca", nil)
	alice, hop := issue(t, middle, "alice", nil), issue(t, ca, "hop", nil)
	var seen byName
	rs := newFleet(t, 2, func(i int, o *Options) {
		o.TrustedProxies, o.ClientCAs = loopback, ca.pool
		if i == 0 {
			o.Authorize = seen.authorize
		}
	})
	rs[0].worker(t, rs[0].Relay, "w", instanceA, "")

	front := httptest.NewUnstartedServer(rs[1].current.Load())
	front.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(), Certificates: []tls.Certificate{{Certificate: [][]byte{hop.Raw}, PrivateKey: hop.key}}}
	front.StartTLS()
	t.Cleanup(front.Close)
	for name, config := range map[string]*tls.Config{
		"alice": {Certificates: []tls.Certificate{{Certificate: [][]byte{alice.Raw, middle.Raw}, PrivateKey: alice.key}}},
		"":      {},
	} {
		opts := dialOptions(Dial, "")
		config.RootCAs, config.ServerName = ca.pool(), "hop"
		opts.TLS = config
		s, err := tunnel.Dial(tunneltest.Soon(t), "wss"+strings.TrimPrefix(front.URL, "https")+Path("", "w"), opts)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		if got := seen.take(); got != name {
			t.Errorf("with TLS: the certificate is of %q, want %q", got, name)
		}
	}

	header := http.Header{}
	setCert(header, &http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{alice.Certificate, middle.Certificate, ca.Certificate}}}})
	opts := dialOptions(Dial, "")
	opts.Header = header
	s, err := tunnel.Dial(tunneltest.Soon(t), rs[1].url+Path("", "w"), opts)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if got := seen.take(); got != "alice" {
		t.Errorf("through a load balancer: the certificate is of %q, want alice", got)
	}
	if code, _ := rs[1].getList(t, "", header); code != http.StatusOK || seen.take() != "alice alice" { // in all, and w
		t.Errorf("a list: status %d", code)
	}
}

// A forged Client-Cert counts for nothing, or is refused.
func TestForgedCert(t *testing.T) {
	t.Parallel()
	ca, other := issue(t, nil, "our-ca", nil), issue(t, nil, "other-ca", nil)
	alice := encodeCert(issue(t, ca, "alice", nil).Certificate)
	for name, tt := range map[string]struct {
		untrusted, off bool // the sender, and the use of the header
		header         http.Header
		code           int // 0: accepted, without a certificate
	}{
		"untrusted":           {untrusted: true, header: http.Header{certHeader: {alice}}},
		"off":                 {off: true, header: http.Header{certHeader: {alice}}},
		"untrusted with Via":  {untrusted: true, header: http.Header{certHeader: {alice}, ViaHeader: {"r9"}}},
		"another authority":   {header: http.Header{certHeader: {encodeCert(issue(t, other, "alice", nil).Certificate)}}, code: http.StatusForbidden},
		"its own authority":   {header: http.Header{certHeader: {encodeCert(issue(t, other, "alice", nil).Certificate)}, chainHeader: {encodeCert(other.Certificate)}}, code: http.StatusForbidden},
		"expired":             {header: http.Header{certHeader: {encodeCert(issue(t, ca, "alice", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).Certificate)}}, code: http.StatusForbidden},
		"of a server":         {header: http.Header{certHeader: {encodeCert(issue(t, ca, "alice", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }).Certificate)}}, code: http.StatusForbidden},
		"two":                 {header: http.Header{certHeader: {alice, alice}}, code: http.StatusBadRequest},
		"a list":              {header: http.Header{certHeader: {alice + ", " + alice}}, code: http.StatusBadRequest},
		"empty":               {header: http.Header{certHeader: {""}}, code: http.StatusBadRequest},
		"without colons":      {header: http.Header{certHeader: {strings.Trim(alice, ":")}}, code: http.StatusBadRequest},
		"not a certificate":   {header: http.Header{certHeader: {":AAAA:"}}, code: http.StatusBadRequest},
		"a long chain":        {header: http.Header{certHeader: {alice}, chainHeader: {strings.Repeat(alice+",", maxChain)}}, code: http.StatusBadRequest},
		"a chain alone":       {header: http.Header{chainHeader: {alice}}},
		"with an odd chain":   {header: http.Header{certHeader: {alice}, chainHeader: {"x"}}, code: http.StatusBadRequest},
		"with a binary chain": {header: http.Header{certHeader: {alice}, chainHeader: {":AAAA:"}}, code: http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen byName
			rs := newFleet(t, 2, func(i int, o *Options) {
				o.TrustedProxies, o.ClientCAs = loopback, ca.pool
				if tt.untrusted && i == 1 {
					o.TrustedProxies = nil
				}
				if tt.off {
					o.ClientCAs = nil
				}
				if i == 0 {
					o.Authorize = seen.authorize
				}
			})
			holder := rs[0] // a relay that believes the hop
			if tt.header.Get(ViaHeader) != "" {
				holder = rs[1]
			}
			holder.worker(t, holder.Relay, "w", instanceA, "")
			opts := dialOptions(Dial, "")
			opts.Header = tt.header
			s, err := tunnel.Dial(tunneltest.Soon(t), rs[1].url+Path("", "w"), opts)
			if tt.code != 0 {
				wantRefusal(t, err, tt.code, certHeader)
				if code, _ := rs[1].getList(t, "", tt.header); code != tt.code {
					t.Errorf("a list: status %d, want %d", code, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
			if got := seen.take(); got != "" {
				t.Errorf("the certificate is of %q, want none", got)
			}
		})
	}
}

// A relay's own certificate isn't that of the engineers that it sends on.
func TestCertOfHop(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "our-ca", nil)
	hop := issue(t, ca, "hop", nil)
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{hop.Certificate, ca.Certificate}}}
	for remote, want := range map[string]bool{"127.0.0.1:1": false, "192.0.2.1:1": true} {
		r := New(Options{TrustedProxies: loopback})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.RemoteAddr, req.TLS = remote, state
		if got, err := r.identify(req); err != nil || got.TLS != state {
			t.Errorf("from %s, without Wstun-Via: %v, %v", remote, got.TLS, err)
		}
		req.Header.Set(ViaHeader, "r9")
		if got, err := r.identify(req); err != nil || (got.TLS != nil) != want {
			t.Errorf("from %s, with Wstun-Via: %v, %v", remote, got.TLS, err)
		}
	}
}

func FuzzCerts(f *testing.F) {
	for _, text := range []string{"", ":", "::", ":AAAA:", ":AAAA:,:AAAA:", "AAAA"} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, leaf, chain string) {
		certs, err := parseCerts([]string{leaf}, []string{chain})
		if err == nil && (len(certs) == 0 || len(certs) > maxChain) {
			t.Errorf("%d certificates", len(certs))
		}
	})
}
