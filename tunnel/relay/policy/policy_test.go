package policy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p, err := New([]Rule{
		{Name: "eu", SHA256: HashToken("eu-token"), Serve: []string{"eu-*"}, MaxSessions: 3, MaxStreams: 4},
		{Name: "alice", SHA256: HashToken("alice-token"), Dial: []string{"eu-*", "us-1"}},
		{Name: "Bob.example", Dial: []string{"*"}, Serve: []string{"bob"}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		token   string
		dns     []string
		role    relay.Role
		name    string
		subject string
		code    int
	}{
		{"eu-token", nil, relay.Serve, "eu-1", "eu", 0},
		{"eu-token", nil, relay.Serve, "us-1", "eu", 403},
		{"eu-token", nil, relay.Dial, "eu-1", "eu", 403},
		{"alice-token", nil, relay.Dial, "eu-1", "alice", 0},
		{"alice-token", nil, relay.Dial, "us-1", "alice", 0},
		{"alice-token", nil, relay.Dial, "us-11", "alice", 403},
		{"alice-token", nil, relay.Serve, "eu-1", "alice", 403},
		{"other", nil, relay.Dial, "eu-1", "", 401},
		{"", nil, relay.Dial, "eu-1", "", 401},
		// For a list.
		{"alice-token", nil, relay.Dial, "", "alice", 0},
		{"eu-token", nil, relay.Dial, "", "eu", 403},
		{"", nil, relay.Dial, "", "", 401},
		// Certificates.
		{"", []string{"w-1"}, relay.Serve, "w-1", "w-1", 0},
		{"", []string{"x", "w-1"}, relay.Serve, "w-1", "w-1", 0},
		{"", []string{"w-1"}, relay.Serve, "w-2", "w-1", 403},
		{"", []string{"w-1"}, relay.Dial, "w-1", "w-1", 403},
		{"", []string{"*"}, relay.Serve, "w-1", "*", 403},
		{"", []string{"bob.EXAMPLE"}, relay.Dial, "w-1", "Bob.example", 0},
		{"", []string{"bob.example"}, relay.Serve, "bob", "Bob.example", 0},
		{"", []string{"bob.example"}, relay.Serve, "w-1", "Bob.example", 403},
		// A token counts before a certificate.
		{"other", []string{"w-1"}, relay.Serve, "w-1", "", 401},
		{"alice-token", []string{"w-1"}, relay.Serve, "w-1", "alice", 403},
	} {
		grant, err := p.Authorize(Credentials{Token: HashToken(test.token), DNSNames: test.dns}, test.role, test.name)
		code := 0
		if refusal, ok := errors.AsType[*tunnel.RefusalError](err); ok {
			code = refusal.Code
		}
		if grant.Subject != test.subject || code != test.code {
			t.Errorf("Authorize(%q, %q, %s, %s) = %q, %v, want %q, %d", test.token, test.dns, test.role, test.name, grant.Subject, err, test.subject, test.code)
		}
	}
	if grant, _ := p.Authorize(Credentials{Token: HashToken("eu-token")}, relay.Serve, "eu-1"); grant.MaxSessions != 3 || grant.MaxStreams != 4 {
		t.Errorf("the grant is %+v, want the rule's limits", grant)
	}
}

// The right that a certificate gives ends with it, that of a token doesn't.
func TestCertExpires(t *testing.T) {
	t.Parallel()
	token := HashToken("token")
	p, err := New([]Rule{{Name: "bob.example", Dial: []string{"*"}}, {Name: "alice", SHA256: token, Dial: []string{"*"}}}, true)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(2_000_000_000, 0)
	r := &http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{"w-1", "bob.example"}, NotAfter: at}}}}}
	c := FromRequest(r, "")
	for role, name := range map[relay.Role]string{relay.Serve: "w-1", relay.Dial: "w-2"} {
		if grant, err := p.Authorize(c, role, name); err != nil || !grant.Expires.Equal(at) {
			t.Errorf("%s %s: %+v, %v, want the end %v", role, name, grant, err, at)
		}
	}
	c.Token = token
	if grant, err := p.Authorize(c, relay.Dial, "w-2"); err != nil || !grant.Expires.IsZero() {
		t.Errorf("with a token: %+v, %v, want no end", grant, err)
	}
}

// Certificates give names only if the policy says so.
func TestWithoutOwnNames(t *testing.T) {
	t.Parallel()
	p, err := New(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Authorize(Credentials{DNSNames: []string{"w-1"}}, relay.Serve, "w-1"); err == nil {
		t.Error("a certificate gives the right to serve its name")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	a, b := HashToken("a"), HashToken("b")
	for _, rules := range [][]Rule{
		{{SHA256: a}},
		{{Name: "a", SHA256: a}, {Name: "a", SHA256: b}},
		{{Name: "a", SHA256: a}, {Name: "a"}},
		{{Name: "a", SHA256: a}, {Name: "b", SHA256: a}},
		{{Name: "a", SHA256: a, Dial: []string{""}}},
		{{Name: "a", SHA256: a, Dial: []string{"eu.*"}}},
		{{Name: "a", SHA256: a, Serve: []string{"[a"}}},
		{{Name: "a", SHA256: a, Serve: []string{"EU-*"}}},
	} {
		if _, err := New(rules, false); err == nil {
			t.Errorf("New(%v) = nil error", rules)
		}
	}
}

func TestFromRequest(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"Bearer abc": "abc", "bearer  abc": "abc", "Basic abc": "", "": "", "Bearer": ""} {
		r := &http.Request{Header: http.Header{"Authorization": {in}, "X-Token": {"other"}}}
		if got := FromRequest(r, "").Token; got != HashToken(want) {
			t.Errorf("the token of %q isn't %q", in, want)
		}
		if got := FromRequest(r, "x-token").Token; got != HashToken("other") {
			t.Error("the token isn't that in its header")
		}
	}
	r := &http.Request{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{DNSNames: []string{"w-1"}}}}}
	if got := FromRequest(r, "").DNSNames; got != nil {
		t.Errorf("names of a certificate that wasn't verified: %q", got)
	}
	r.TLS.VerifiedChains = [][]*x509.Certificate{r.TLS.PeerCertificates}
	if got := FromRequest(r, "").DNSNames; !slices.Equal(got, []string{"w-1"}) {
		t.Errorf("names = %q", got)
	}
}
