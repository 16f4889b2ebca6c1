package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// provider is an OpenID provider.
type provider struct {
	url     string
	keys    atomic.Pointer[jose.JSONWebKeySet] // nil: it is down
	fetches atomic.Int64                       // of keys
}

func newProvider(t *testing.T, keys ...jose.JSONWebKey) *provider {
	t.Helper()
	p := &provider{}
	p.publish(keys...)
	mux := http.NewServeMux()
	mux.HandleFunc(discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.url, "jwks_uri": p.url + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		keys := p.keys.Load()
		if keys == nil {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(keys)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

// publish replaces the keys by the public ones of keys.
func (p *provider) publish(keys ...jose.JSONWebKey) {
	set := &jose.JSONWebKeySet{}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	p.keys.Store(set)
}

// issuer returns the provider as an issuer whose keys are found by discovery.
func (p *provider) issuer(rules ...ClaimRule) Issuer {
	keys := NewKeySet(KeySource{Issuer: p.url}, nil)
	return Issuer{Name: "ci", URL: p.url, Audience: []string{"relay"}, Keys: keys, Rules: rules}
}

// newKey returns a P-256 key.
func newKey(tb testing.TB, id string) jose.JSONWebKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: id, Use: "sig"}
}

type set map[string]any

// with returns a copy of s with the values of t; nil removes one.
func (s set) with(t set) set {
	all := maps.Clone(s)
	maps.Copy(all, t)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// claimsOf returns those of a valid token of alice.
func (p *provider) claimsOf() set {
	return set{"iss": p.url, "aud": "relay", "sub": "alice", "jti": "t-1", "exp": time.Now().Add(time.Hour).Unix()}
}

// sign signs claims. header has additions to the header.
func sign(tb testing.TB, alg jose.SignatureAlgorithm, key jose.JSONWebKey, header, claims set) string {
	tb.Helper()
	opts := &jose.SignerOptions{}
	for name, value := range header {
		opts.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any(claims)).Serialize()
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// thumbprint returns the hash of a public key (RFC 7638).
func thumbprint(tb testing.TB, k jose.JSONWebKey) []byte {
	tb.Helper()
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}
