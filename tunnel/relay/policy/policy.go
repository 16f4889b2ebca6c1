// Package policy decides which tokens may serve or dial which Workers at a relay.
//
//	p, err := policy.New([]policy.Rule{{Name: "alice", SHA256: sum, Dial: []string{"eu-*"}}})
//	relay.Options{Authorize: func(r *http.Request, role relay.Role, name string) (string, error) {
//		return p.Authorize(policy.BearerToken(r.Header), role, name)
//	}}
//
// A Policy doesn't change: to change the rules, make another one. Only hashes of the tokens
// are known, so that a copy of the rules gives access to nothing. The tokens must be
// random: the hash of one that people choose can be found by trying.
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

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// Rule has the rights of one token.
type Rule struct {
	// Name is the name of the user or machine with the token, for records. It must be
	// unique.
	Name string

	// SHA256 is the hash of the token.
	SHA256 [sha256.Size]byte

	// Serve and Dial are patterns for the names of Workers: * stands for any characters,
	// also none, ? for one, and [a-c] for one of several. Default: none.
	Serve, Dial []string
}

// Policy has rules.
type Policy struct {
	rules map[[sha256.Size]byte]Rule
}

// New returns a Policy. The error says which rule is invalid.
func New(rules []Rule) (*Policy, error) {
	p := &Policy{rules: map[[sha256.Size]byte]Rule{}}
	names := map[string]bool{}
	for _, r := range rules {
		if r.Name == "" {
			return nil, errors.New("a rule without a name")
		}
		if names[r.Name] {
			return nil, fmt.Errorf("%q: two rules with this name", r.Name)
		}
		if other, ok := p.rules[r.SHA256]; ok {
			return nil, fmt.Errorf("%q: it has the token of %q", r.Name, other.Name)
		}
		for _, pattern := range slices.Concat(r.Serve, r.Dial) {
			if err := checkPattern(pattern); err != nil {
				return nil, fmt.Errorf("%q: %w", r.Name, err)
			}
		}
		names[r.Name] = true
		p.rules[r.SHA256] = r
	}
	return p, nil
}

// checkPattern refuses patterns that match no name, because they are mistyped.
func checkPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" ||
		strings.ContainsFunc(pattern, func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-*?[]^", c) }) {
		return fmt.Errorf("%q: not a pattern for names of a-z, 0-9 and -", pattern)
	}
	return nil
}

// Authorize returns the name of the rule with this token, if it allows the role for the
// Worker. The error is a *tunnel.RefusalError with 401 or 403. It doesn't depend on whether
// the Worker exists.
func (p *Policy) Authorize(token string, role relay.Role, name string) (subject string, err error) {
	// A lookup by the hash takes as long for each token as for any other that begins
	// differently: nobody can choose the hash.
	rule, ok := p.rules[sha256.Sum256([]byte(token))]
	if !ok || token == "" {
		return "", &tunnel.RefusalError{
			Code: http.StatusUnauthorized, Header: http.Header{"WWW-Authenticate": {"Bearer"}},
			Err: errors.New("no token, or an unknown one"),
		}
	}
	patterns, verb := rule.Dial, "dial"
	if role == relay.Serve {
		patterns, verb = rule.Serve, "serve"
	}
	if !slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // New has checked the patterns
		return ok
	}) {
		return rule.Name, &tunnel.RefusalError{Code: http.StatusForbidden, Err: fmt.Errorf("the token of %s may not %s %s", rule.Name, verb, name)}
	}
	return rule.Name, nil
}

// BearerToken returns the token in Authorization: Bearer (RFC 6750), "" if there is none.
func BearerToken(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
