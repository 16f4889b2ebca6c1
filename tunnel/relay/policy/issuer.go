package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/wstun/wstun/tunnel/relay"
)

const (
	// leeway is how far the clock of an issuer may be ahead. There is none for exp.
	leeway = time.Minute

	// maxID is the length of a subject (OpenID Connect Core §2).
	maxID = 255
)

// Issuer gives out JWTs (RFC 7519).
type Issuer struct {
	// Name stands before the subjects in Grants: NAME:SUBJECT. It has the form of a Worker's
	// name, and must be unique.
	Name string

	// URL is the claim iss. It must be unique.
	URL string

	// Audience are values of the claim aud; a token must have one of them.
	Audience []string

	// Keys are the issuer's.
	Keys *KeySet

	// Algorithms are some of Algorithms(). Default: all of them.
	Algorithms []string

	// SubjectClaim is the claim that names the user or machine. Default: sub.
	SubjectClaim string

	// Rules are the rights. The first rule that matches and allows the name counts.
	Rules []ClaimRule

	// Revoked tokens are refused.
	Revoked Revoked
}

// Revoked has the subjects, token IDs (jti) and key IDs (kid) of tokens that are revoked.
type Revoked struct{ Subjects, TokenIDs, KeyIDs []string }

// ClaimRule has the rights of the tokens with certain claims. Its SHA256 isn't used, and its Name
// is for records.
type ClaimRule struct {
	Rule

	// Match are the claims: a token must have all of them. It isn't empty.
	Match []Match

	// ServeClaim and DialClaim are claims whose values are further patterns. Each is a path:
	// a claim, or a claim and the names of members of its objects. Default: none.
	ServeClaim, DialClaim []string
}

// Match is a claim with one of some values.
type Match struct {
	Claim string

	// Values are patterns, in which * stands for any characters. If the claim is a list, one
	// of its items must match.
	Values []string

	// Members are those of a claim that is an object. If there are any, Values has no effect.
	Members []Match
}

// check returns why the issuer is invalid, and sets defaults.
func (i *Issuer) check() error {
	if err := relay.CheckName(i.Name); err != nil {
		return fmt.Errorf("issuer %q: its name: %w", i.Name, err)
	}
	switch {
	case i.URL == "":
		return fmt.Errorf("issuer %q: no URL", i.Name)
	case len(i.Audience) == 0 || slices.Contains(i.Audience, ""):
		return fmt.Errorf("issuer %q: no audience", i.Name)
	case i.Keys == nil:
		return fmt.Errorf("issuer %q: no keys", i.Name)
	}
	if len(i.Algorithms) == 0 {
		i.Algorithms = Algorithms()
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			return fmt.Errorf("issuer %q: algorithm %q: want some of %s", i.Name, a, strings.Join(Algorithms(), ", "))
		}
	}
	for _, r := range i.Rules {
		if r.Name == "" || len(r.Match) == 0 {
			return fmt.Errorf("issuer %q: a rule without a name or claims", i.Name)
		}
		if err := checkPatterns(&r.Rule); err != nil {
			return fmt.Errorf("issuer %q: %w", i.Name, err)
		}
	}
	return nil
}

// authorize is Policy.Authorize for the claims of a token.
func (p *Policy) authorize(c *claims, role relay.Role, name string) (relay.Grant, error) {
	i := p.issuers[c.Issuer]
	if i == nil {
		return relay.Grant{}, unauthorized("the token's issuer (iss) isn't in the policy")
	}
	subject, err := i.subject(c)
	if err != nil {
		return relay.Grant{}, err
	}
	grant := relay.Grant{Subject: i.Name + ":" + subject, KeyID: c.keyID, TokenID: c.ID}
	if err := i.validate(c, subject, time.Now()); err != nil {
		return grant, err
	}
	grant.Expires = c.Expiry.Time()
	for _, rule := range i.Rules {
		if matches(rule.Match, c.all) && allows(rule.patterns(c, role), name) {
			grant.Rule, grant.MaxSessions, grant.MaxStreams = rule.Name, rule.MaxSessions, rule.MaxStreams
			return grant, nil
		}
	}
	return grant, forbidden("the token of "+grant.Subject, role, name)
}

// subject returns the name of the user or machine.
func (i *Issuer) subject(c *claims) (string, error) {
	subject := c.Subject
	if i.SubjectClaim != "" {
		subject, _ = c.all[i.SubjectClaim].(string)
	}
	isPrint := func(s string) bool {
		return len(s) <= maxID && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}
	if subject == "" || !isPrint(subject) || !isPrint(c.ID) || !isPrint(c.keyID) {
		return "", unauthorized("the token has no subject, or an invalid one")
	}
	return subject, nil
}

// validate returns why the token isn't valid now.
func (i *Issuer) validate(c *claims, subject string, now time.Time) error {
	switch {
	case !slices.Contains(i.Algorithms, c.alg):
		return unauthorized("the token's algorithm %s isn't allowed", c.alg)
	case !slices.ContainsFunc(i.Audience, c.Audience.Contains):
		return unauthorized("the token is for another audience (aud): ask its issuer for one for this relay")
	case c.Expiry == nil:
		return unauthorized("the token doesn't say when it expires (exp)")
	case !now.Before(c.Expiry.Time()):
		return unauthorized("the token has expired: get a new one from its issuer")
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()), c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time()):
		return unauthorized("the token isn't valid yet: is a clock wrong?")
	case slices.Contains(i.Revoked.Subjects, c.Subject), slices.Contains(i.Revoked.Subjects, subject),
		c.ID != "" && slices.Contains(i.Revoked.TokenIDs, c.ID),
		c.keyID != "" && slices.Contains(i.Revoked.KeyIDs, c.keyID):
		return unauthorized("the token is revoked")
	}
	return nil
}

// patterns returns those of the rule and in the claims that it names.
func (r *ClaimRule) patterns(c *claims, role relay.Role) []string {
	patterns, path := r.Dial, r.DialClaim
	if role == relay.Serve {
		patterns, path = r.Serve, r.ServeClaim
	}
	if len(path) == 0 {
		return patterns
	}
	var value any = c.all
	for _, member := range path {
		object, _ := value.(map[string]any)
		value = object[member]
	}
	claimed := slices.DeleteFunc(texts(value), func(pattern string) bool { return checkPattern(pattern) != nil })
	return slices.Concat(patterns, claimed)
}

// matches reports whether the claims have all that is in list.
func matches(list []Match, claims map[string]any) bool {
	return !slices.ContainsFunc(list, func(m Match) bool {
		value := claims[m.Claim]
		if len(m.Members) > 0 {
			object, ok := value.(map[string]any)
			return !ok || !matches(m.Members, object)
		}
		return !slices.ContainsFunc(texts(value), func(text string) bool {
			return slices.ContainsFunc(m.Values, func(pattern string) bool { return matchText(pattern, text) })
		})
	})
}

// texts returns the texts of a claim's values: itself, or its items.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case bool, json.Number:
		return []string{fmt.Sprint(value)}
	case []any:
		var all []string
		for _, item := range value {
			if _, ok := item.([]any); !ok {
				all = append(all, texts(item)...)
			}
		}
		return all
	}
	return nil
}

// matchText reports whether text matches the pattern, in which * stands for any characters.
// Unlike path.Match it has no other special characters, because claims have these.
func matchText(pattern, text string) bool {
	prefix, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == text
	}
	text, ok = strings.CutPrefix(text, prefix)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := len(parts) - 1
	for _, part := range parts[:last] { // the first place is the best one
		if _, text, ok = strings.Cut(text, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(text, parts[last])
}

var errTwoIssuers = errors.New("two issuers with this name or URL")

// addIssuers adds the issuers. The error says which one is invalid.
func (p *Policy) addIssuers(issuers []Issuer) error {
	names := map[string]bool{}
	for n := range issuers {
		i := &issuers[n]
		if err := i.check(); err != nil {
			return err
		}
		if names[i.Name] || p.issuers[i.URL] != nil {
			return fmt.Errorf("issuer %q: %w", i.Name, errTwoIssuers)
		}
		names[i.Name], p.issuers[i.URL] = true, i
	}
	return nil
}

// Refresh starts to load the keys of the issuers that are due, and doesn't block. Call it
// each second.
func (p *Policy) Refresh() {
	for _, i := range p.issuers {
		i.Keys.Refresh()
	}
}
