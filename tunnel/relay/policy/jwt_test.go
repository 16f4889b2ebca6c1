package policy

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// decide returns the decision about a request with the token, as a relay makes it.
func decide(tb testing.TB, p *Policy, token string, role relay.Role, name string) (relay.Grant, error) {
	tb.Helper()
	r, _ := http.NewRequestWithContext(tb.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	c, err := p.Verify(tb.Context(), FromRequest(r, ""))
	if err != nil {
		return relay.Grant{}, err
	}
	if c.JWT != "" && c.claims != nil {
		tb.Error("the token is kept")
	}
	return p.Authorize(c, role, name)
}

// wantRefusal fails the test unless err is a refusal with the code and the text.
func wantRefusal(t *testing.T, name string, err error, code int, text string) {
	t.Helper()
	refusal, ok := errors.AsType[*tunnel.RefusalError](err)
	if !ok || refusal.Code != code || !strings.Contains(refusal.Error(), text) {
		t.Errorf("%s: %v, want %d and %q", name, err, code, text)
	}
}

func mustNew(tb testing.TB, issuers ...Issuer) *Policy {
	tb.Helper()
	p, err := New([]Rule{{Name: "opaque", SHA256: HashToken("a.b.c"), Dial: []string{"*"}}}, false, issuers...)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func rule(name string, match []Match, dial ...string) ClaimRule {
	return ClaimRule{Rule: Rule{Name: name, Dial: dial}, Match: match}
}

var anyone = []Match{{Claim: "sub", Values: []string{"*"}}}

// The decisions about tokens (RFC 8725 §3).
func TestTokens(t *testing.T) {
	t.Parallel()
	key, other := newKey(t, "k1"), newKey(t, "k1")
	prov := newProvider(t, key, newKey(t, "k2"))
	p := mustNew(t, prov.issuer(rule("all", anyone, "eu-*")))
	good := prov.claimsOf()
	es := func(header, change set) string { return sign(t, jose.ES256, key, header, good.with(change)) }
	parts := strings.Split(es(nil, nil), ".")
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	public, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	hmac := func(secret []byte) string {
		return sign(t, jose.HS256, jose.JSONWebKey{Key: secret, KeyID: "k1"}, nil, good)
	}
	grant, err := decide(t, p, es(set{"typ": "at+jwt"}, set{"aud": []string{"x", "relay"}}), relay.Dial, "eu-1")
	if want := time.Unix(good["exp"].(int64), 0); err != nil || grant.Subject != "ci:alice" || grant.Rule != "all" ||
		grant.KeyID != "k1" || grant.TokenID != "t-1" || !grant.Expires.Equal(want) {
		t.Errorf("a valid token: %+v, %v", grant, err)
	}
	now := time.Now().Unix()
	for _, test := range []struct {
		name, token string
		code        int
		text        string
	}{
		{"typ", es(set{"typ": "application/JWT"}, nil), 0, ""},
		{"fraction", es(nil, set{"exp": float64(now) + 60.5}), 0, ""},
		{"future within the leeway", es(nil, set{"nbf": now + 30, "iat": now + 30}), 0, ""},
		{"opaque", "a.b.c", 0, ""},
		{"none", encode(`{"alg":"none"}`) + "." + parts[1] + ".", 401, `algorithm "none" isn't allowed`},
		{"None", encode(`{"alg":"None"}`) + "." + parts[1] + "." + parts[2], 401, `algorithm "None"`},
		{"HMAC with the public key", hmac(public), 401, `algorithm "HS256"`},
		{"HMAC with the thumbprint", hmac(thumbprint(t, key)), 401, `algorithm "HS256"`},
		{"other key", sign(t, jose.ES256, other, nil, good), 401, "signature"},
		{"key of another ID", sign(t, jose.ES256, jose.JSONWebKey{Key: key.Key, KeyID: "k2"}, nil, good), 401, "signature"},
		{"no key ID, two keys", sign(t, jose.ES256, jose.JSONWebKey{Key: key.Key}, nil, good), 401, "kid"},
		{"embedded key", sign(t, jose.ES256, other, set{"jwk": other.Public(), "jku": "http://x", "x5u": "http://x"}, good), 401, "signature"},
		{"crit", es(set{"crit": []string{"exp"}}, nil), 401, "extension"},
		{"b64", es(set{"b64": true}, nil), 401, "extension"},
		{"logout token", es(set{"typ": "logout+jwt"}, nil), 401, "another kind"},
		{"typ of another type", es(set{"typ": 1}, nil), 401, "another kind"},
		{"signature", parts[0] + "." + parts[1] + "." + encode("x"), 401, "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", 401, "signature"},
		{"claims", parts[0] + "." + encode(`{"iss":"`+prov.url+`"}`) + "." + parts[2], 401, "signature"},
		{"issuer twice", parts[0] + "." + encode(`{"iss":"x","iss":"`+prov.url+`"}`) + "." + parts[2], 401, "claims aren't valid"},
		{"garbage", "x.y.z", 401, "isn't a valid JWT"},
		{"long", es(nil, set{"groups": strings.Repeat("x", maxToken)}), 401, "longer than 16 KiB"},
		{"issuer", es(nil, set{"iss": prov.url + "/"}), 401, "issuer (iss) isn't in the policy"},
		{"no issuer", es(nil, set{"iss": nil}), 401, "issuer (iss) isn't in the policy"},
		{"audience", es(nil, set{"aud": "relay2"}), 401, "another audience"},
		{"no audience", es(nil, set{"aud": nil}), 401, "another audience"},
		{"expired", es(nil, set{"exp": now}), 401, "has expired"},
		{"no exp", es(nil, set{"exp": nil}), 401, "(exp)"},
		{"exp of another type", es(nil, set{"exp": "never"}), 401, "claims aren't valid"},
		{"huge exp", es(nil, set{"exp": 1e300}), 401, "claims aren't valid"},
		{"nbf", es(nil, set{"nbf": now + 120}), 401, "isn't valid yet"},
		{"iat", es(nil, set{"iat": now + 120}), 401, "isn't valid yet"},
		{"no subject", es(nil, set{"sub": nil}), 401, "no subject"},
		{"subject with a line break", es(nil, set{"sub": "a\nb"}), 401, "no subject"},
		{"long jti", es(nil, set{"jti": strings.Repeat("x", 256)}), 401, "no subject"},
	} {
		_, err := decide(t, p, test.token, relay.Dial, "eu-1")
		if test.code == 0 {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		wantRefusal(t, test.name, err, test.code, test.text)
	}
	_, err = decide(t, p, es(nil, nil), relay.Dial, "us-1")
	wantRefusal(t, "name", err, 403, "the token of ci:alice may not dial us-1")
	_, err = decide(t, p, es(nil, nil), relay.Serve, "eu-1")
	wantRefusal(t, "role", err, 403, "the token of ci:alice may not serve eu-1")
	if n := prov.fetches.Load(); n != 1 {
		t.Errorf("%d fetches of the keys, want 1", n)
	}
}

// Keys of each kind count for their algorithms only, and weak and private ones for none.
func TestKeyKinds(t *testing.T) {
	t.Parallel()
	rsaKey := func(bits int, id string) jose.JSONWebKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return jose.JSONWebKey{Key: k, KeyID: id}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, weak, edKey := rsaKey(2048, "rsa"), rsaKey(1024, "weak"), jose.JSONWebKey{Key: ed, KeyID: "ed"}
	pinned := jose.JSONWebKey{Key: strong.Key, KeyID: "pinned", Algorithm: "PS256"}
	forEncryption := newKey(t, "enc")
	forEncryption.Use = "enc"
	prov := newProvider(t, strong, weak, edKey, pinned, forEncryption)
	i := prov.issuer(rule("all", anyone, "*"))
	i.Algorithms = []string{"RS256", "PS256", "EdDSA", "ES256"}
	p := mustNew(t, i)
	for _, test := range []struct {
		alg  jose.SignatureAlgorithm
		key  jose.JSONWebKey
		code int
	}{
		{jose.RS256, strong, 0},
		{jose.PS256, strong, 0},
		{jose.RS512, strong, 401}, // not allowed
		{jose.EdDSA, edKey, 0},
		{jose.PS256, pinned, 0},
		{jose.RS256, jose.JSONWebKey{Key: strong.Key, KeyID: "pinned"}, 503},
		{jose.RS256, weak, 503},
		{jose.ES256, forEncryption, 503},
		{jose.RS256, jose.JSONWebKey{Key: strong.Key, KeyID: "ed"}, 503},
	} {
		_, err := decide(t, p, sign(t, test.alg, test.key, nil, prov.claimsOf()), relay.Dial, "w")
		if test.code == 0 && err != nil {
			t.Errorf("%s with %s: %v", test.alg, test.key.KeyID, err)
		} else if test.code != 0 {
			wantRefusal(t, string(test.alg)+" with "+test.key.KeyID, err, test.code, "")
		}
	}
}

// FuzzVerify checks that no token but a signed one gets claims.
func FuzzVerify(f *testing.F) {
	key := newKey(f, "k1")
	keys := &KeySet{keys: []jose.JSONWebKey{key.Public()}, tried: time.Now()}
	p := mustNew(f, Issuer{Name: "ci", URL: "https://ci", Audience: []string{"relay"}, Keys: keys, Rules: []ClaimRule{rule("all", anyone, "*")}})
	good := sign(f, jose.ES256, key, nil, set{"iss": "https://ci", "aud": "relay", "sub": "alice", "exp": int64(1) << 40})
	f.Add(good)
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2NpIn0.")
	payload := strings.Split(good, ".")[1]
	f.Fuzz(func(t *testing.T, token string) {
		c, err := p.Verify(t.Context(), Credentials{JWT: token})
		if token != good && err == nil && c.claims != nil && !strings.Contains(token, payload) {
			t.Errorf("the signature of %q counts", token)
		}
	})
}

// FuzzParseKeys checks that parsing keys doesn't panic.
func FuzzParseKeys(f *testing.F) {
	key := newKey(f, "k")
	public, err := key.Public().MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"keys":[` + string(public) + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AA"},null]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Error("neither keys nor an error")
		}
	})
}
