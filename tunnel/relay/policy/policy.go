// Package policy decides which tokens and client certificates may serve or dial which Workers
// at a relay.
//
//	p, err := policy.New([]policy.Rule{{Name: "alice", SHA256: sum, Dial: []string{"eu-*"}}}, false)
//	relay.Options{Authorize: func(r *http.Request, role relay.Role, name string) (relay.Grant, error) {
//		c, err := p.Verify(r.Context(), policy.FromRequest(r, ""))
//		if err != nil {
//			return relay.Grant{}, err
//		}
//		return p.Authorize(c, role, name)
//	}}
//
// A token is an opaque one, of which a Rule has the hash, or a JWT of an Issuer, whose claims
// ClaimRules match. A Policy doesn't change: to change the rules, make another one, which may have
// the same KeySets. Only hashes of opaque tokens are known, so that a copy of the rules gives
// access to nothing. These tokens must be random: the hash of one that people choose can be
// found by trying.
//
// JWTs are checked as RFC 8725 recommends: asymmetric algorithms only, which the key must be for;
// keys only from the issuer in iss; iss, aud and exp required. A KeySet loads few bytes, in
// little time, and seldom: anybody can send tokens with unknown keys.
//
// All methods may be called from any goroutine.
package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// Hash is the hash of a token. The zero value means that there is none.
type Hash [sha256.Size]byte

// HashToken returns the hash of a token, the zero value for "".
func HashToken(token string) Hash {
	if token == "" {
		return Hash{}
	}
	return sha256.Sum256([]byte(token))
}

// Rule has the rights of one token or client certificate.
type Rule struct {
	// Name is the name of the user or machine, for records. It must be unique. For
	// client certificates, it is the DNS name in them.
	Name string

	// SHA256 is the hash of the token. The zero value means that the rule is for client
	// certificates.
	SHA256 Hash

	// Serve and Dial are patterns for the names of Workers: * stands for any characters,
	// also none, ? for one, and [a-c] for one of several. Default: none.
	Serve, Dial []string

	// MaxSessions and MaxStreams are those of relay.Grant.
	MaxSessions, MaxStreams int
}

// Policy has rules.
type Policy struct {
	tokens       map[Hash]*Rule
	certificates map[string]*Rule // by the DNS name, in lower case
	named        bool             // a certificate may serve the Worker that its DNS name is
	issuers      map[string]*Issuer
}

// New returns a Policy. The error says which rule is invalid. If ownNames is true, a client
// certificate also may serve the Workers whose names are DNS names in it.
func New(rules []Rule, ownNames bool, issuers ...Issuer) (*Policy, error) {
	p := &Policy{tokens: map[Hash]*Rule{}, certificates: map[string]*Rule{}, named: ownNames, issuers: map[string]*Issuer{}}
	names := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		if r.Name == "" {
			return nil, errors.New("a rule without a name")
		}
		if names[r.Name] {
			return nil, fmt.Errorf("%q: two rules with this name", r.Name)
		}
		if other := p.tokens[r.SHA256]; other != nil {
			return nil, fmt.Errorf("%q: it has the token of %q", r.Name, other.Name)
		}
		if err := checkPatterns(r); err != nil {
			return nil, err
		}
		names[r.Name] = true
		if r.SHA256 == (Hash{}) {
			p.certificates[strings.ToLower(r.Name)] = r
		} else {
			p.tokens[r.SHA256] = r
		}
	}
	return p, p.addIssuers(issuers)
}

func checkPatterns(r *Rule) error {
	for _, pattern := range slices.Concat(r.Serve, r.Dial) {
		if err := checkPattern(pattern); err != nil {
			return fmt.Errorf("%q: %w", r.Name, err)
		}
	}
	return nil
}

// checkPattern refuses patterns that match no name, because they are mistyped.
func checkPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" ||
		strings.ContainsFunc(pattern, func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-*?[]^", c) }) {
		return fmt.Errorf("%q: not a pattern for names of a-z, 0-9 and -", pattern)
	}
	return nil
}

// Credentials are those of a request.
type Credentials struct {
	Token    Hash
	JWT      string   // the token, if it has the form of a JWT and isn't verified yet
	DNSNames []string // in the client certificate, if it was verified

	CertExpires time.Time // with DNSNames

	claims *claims // of the JWT, from Verify
}

// FromRequest returns the credentials of a request. tokenHeader has the token; "" means
// Authorization: Bearer (RFC 6750).
func FromRequest(r *http.Request, tokenHeader string) Credentials {
	token := r.Header.Get(tokenHeader)
	if tokenHeader == "" {
		token = bearerToken(r.Header)
	}
	c := Credentials{Token: HashToken(token)}
	if strings.Count(token, ".") == 2 { // RFC 7515 §7.1
		c.JWT = token
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		cert := r.TLS.VerifiedChains[0][0]
		c.DNSNames, c.CertExpires = cert.DNSNames, cert.NotAfter
	}
	return c
}

// Authorize returns the Grant of the credentials, if they allow the role for the Worker, or, if
// name is "", for any. A token counts before a certificate; a JWT counts only after Verify, also
// of an older Policy. The error is a *tunnel.RefusalError with 401 or 403. It doesn't depend on
// whether the Worker exists.
func (p *Policy) Authorize(c Credentials, role relay.Role, name string) (relay.Grant, error) {
	if c.claims != nil {
		return p.authorize(c.claims, role, name)
	}
	if c.Token == (Hash{}) && role == relay.Serve && p.named && name != "" && slices.Contains(c.DNSNames, name) {
		return relay.Grant{Subject: name, Expires: c.CertExpires}, nil
	}
	rule := p.find(c)
	if rule == nil && len(c.DNSNames) > 0 && c.Token == (Hash{}) {
		return relay.Grant{Subject: c.DNSNames[0]}, forbidden("the certificate of "+c.DNSNames[0], role, name)
	}
	if rule == nil {
		return relay.Grant{}, &tunnel.RefusalError{
			Code: http.StatusUnauthorized, Header: http.Header{"WWW-Authenticate": {"Bearer"}},
			Err: errors.New("no token, or an unknown one"),
		}
	}
	grant := relay.Grant{Subject: rule.Name, Rule: rule.Name}
	patterns, kind := rule.Dial, "token"
	if role == relay.Serve {
		patterns = rule.Serve
	}
	if rule.SHA256 == (Hash{}) {
		kind, grant.Expires = "certificate", c.CertExpires
	}
	if !allows(patterns, name) {
		return grant, forbidden("the "+kind+" of "+rule.Name, role, name)
	}
	grant.MaxSessions, grant.MaxStreams = rule.MaxSessions, rule.MaxStreams
	return grant, nil
}

// find returns the rule for the credentials, or nil.
func (p *Policy) find(c Credentials) *Rule {
	if c.Token != (Hash{}) {
		// A lookup by the hash takes as long for each token as for any other that begins
		// differently: nobody can choose the hash.
		return p.tokens[c.Token]
	}
	for _, name := range c.DNSNames {
		if rule := p.certificates[strings.ToLower(name)]; rule != nil {
			return rule
		}
	}
	return nil
}

// allows reports whether one of the patterns allows the name, or any name if it is "".
func allows(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // checkPattern has checked the patterns
		return ok || name == ""
	})
}

func forbidden(whose string, role relay.Role, name string) error {
	verb := "dial "
	if role == relay.Serve {
		verb = "serve "
	}
	if name == "" {
		name = "any worker"
	}
	return &tunnel.RefusalError{Code: http.StatusForbidden, Err: errors.New(whose + " may not " + verb + name)}
}

// bearerToken returns the token in Authorization: Bearer, "" if there is none.
func bearerToken(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
