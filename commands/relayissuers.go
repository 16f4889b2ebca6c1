package commands

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/relay/policy"
)

// keySets has the keys of issuers. They stay when the policy changes, because the issuer
// may be down then.
type keySets struct {
	dir    string // of the policy, for relative paths
	logger *slog.Logger

	mu   sync.Mutex
	sets map[policy.KeySource]*policy.KeySet
}

// get returns the keys from the source. A file must have some.
func (k *keySets) get(source policy.KeySource) (*policy.KeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if set := k.sets[source]; set != nil {
		return set, nil
	}
	set := policy.NewKeySet(source, k.logger)
	if source.File != "" {
		if err := set.Load(context.Background()); err != nil {
			return nil, pathCause(err)
		}
	}
	if k.sets == nil {
		k.sets = map[policy.KeySource]*policy.KeySet{}
	}
	k.sets[source] = set
	return set, nil
}

func (k *keySets) path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(k.dir, path)
}

var (
	issuerKeys  = []string{"name", "issuer", "audience", "jwks", "cacert", "refresh", "algorithms", "subject-claim", "rules", "revoked"}
	revokedKeys = []string{"sub", "jti", "kid"}
)

// parseIssuer returns the issuer in an item of issuers.
func parseIssuer(f *yamlfile.File, item *yamlfile.Node, keys *keySets) (i policy.Issuer) {
	if item.Kind != yaml.MappingNode {
		f.Errorf(item.Line, "an issuer: want name, issuer, audience and rules, not %s", item.Describe())
		return i
	}
	for _, r := range []struct{ key, example string }{
		{"name", "name: ci, which stands before the subjects in the audit"},
		{"issuer", "issuer: https://login.example, the claim iss of its tokens"},
		{"audience", "audience: wss://relay.example, the claim aud of tokens for this relay"},
		{"rules", "rules, a list of name, match, serve and dial"},
	} {
		if item.Get(r.key) == nil {
			f.Errorf(item.Line, "an issuer without %s: add %s", r.key, r.example)
		}
	}
	var source policy.KeySource
	sourceLine := item.Line
	for _, field := range item.Fields {
		switch v := field.Value; field.Key {
		case "name":
			if i.Name = v.Text; relay.CheckName(i.Name) != nil {
				f.Errorf(field.Line, "name: want a name of a-z, 0-9 and -, because subjects follow it in the audit")
			}
		case "issuer":
			i.URL, sourceLine = v.Text, field.Line
		case "audience":
			i.Audience = parseSomeTexts(f, field)
		case "jwks":
			if sourceLine = field.Line; strings.Contains(v.Text, "://") {
				source.URL = v.Text
			} else {
				source.File = keys.path(v.Text)
			}
		case "cacert":
			source.CACert = keys.path(v.Text)
		case "refresh":
			source.Refresh = parseRefresh(f, field)
		case "algorithms":
			i.Algorithms = parseAlgorithms(f, field)
		case "subject-claim":
			i.SubjectClaim = v.Text
		case "rules":
			i.Rules = parseClaimRules(f, field)
		case "revoked":
			i.Revoked = parseRevoked(f, field)
		default:
			unknownKey(f, field, issuerKeys)
		}
	}
	if f.Err() == nil {
		i.Keys = parseKeySource(f, sourceLine, source, &i, keys)
	}
	return i
}

// parseKeySource returns the keys from the source.
func parseKeySource(f *yamlfile.File, line int, source policy.KeySource, i *policy.Issuer, keys *keySets) *policy.KeySet {
	switch {
	case source.File == "" && source.URL == "":
		source.Issuer = i.URL
		if err := policy.CheckURL(i.URL); err != nil {
			f.Errorf(line, "issuer: %v: its keys are found from there, unless jwks names their file or URL", err)
			return nil
		}
	case source.URL != "":
		if err := policy.CheckURL(source.URL); err != nil {
			f.Errorf(line, "jwks: %v, or a file", err)
			return nil
		}
	}
	set, err := keys.get(source)
	if err != nil {
		f.Errorf(line, "jwks: %v", err)
	}
	return set
}

func parseRefresh(f *yamlfile.File, field yamlfile.Field) time.Duration {
	const least, most = 10 * time.Second, 24 * time.Hour
	d, err := time.ParseDuration(field.Value.Text)
	if err != nil || d < least || d > most {
		f.Errorf(field.Line, "refresh: want a duration from 10s to 24h, such as %v", policy.DefaultRefresh)
	}
	return d
}

func parseAlgorithms(f *yamlfile.File, field yamlfile.Field) []string {
	names := parseSomeTexts(f, field)
	for _, name := range names {
		if !slices.Contains(policy.Algorithms(), name) {
			f.Errorf(field.Line, "algorithms: %s: want some of %s", yamlfile.Quote(name), strings.Join(policy.Algorithms(), ", "))
		}
	}
	return names
}

// parseSomeTexts is parseTexts for a list that must not be empty.
func parseSomeTexts(f *yamlfile.File, field yamlfile.Field) []string {
	if field.Value.Kind == yaml.SequenceNode && len(field.Value.Items) == 0 {
		f.Errorf(field.Line, "%s: the list is empty", field.Key)
	}
	return parseTexts(f, field)
}

// parseTexts returns a text, or the texts of a list, which may be empty.
func parseTexts(f *yamlfile.File, field yamlfile.Field) (texts []string) {
	items := field.Value.Items
	if field.Value.Kind == yaml.ScalarNode {
		items = []*yamlfile.Node{field.Value}
	}
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.Text == "" {
			f.Errorf(item.Line, "%s: want a text, not %s", field.Key, item.Describe())
		}
		texts = append(texts, item.Text)
	}
	if field.Value.Kind == yaml.MappingNode {
		f.Errorf(field.Line, "%s: want a text or a list of texts, not a mapping", field.Key)
	}
	return texts
}

func parseRevoked(f *yamlfile.File, field yamlfile.Field) (r policy.Revoked) {
	if field.Value.Kind != yaml.MappingNode {
		f.Errorf(field.Line, "revoked: want lists of sub, jti and kid, such as {sub: [alice]}, not %s", field.Value.Describe())
	}
	for _, field := range field.Value.Fields {
		switch field.Key {
		case "sub":
			r.Subjects = parseTexts(f, field)
		case "jti":
			r.TokenIDs = parseTexts(f, field)
		case "kid":
			r.KeyIDs = parseTexts(f, field)
		default:
			unknownKey(f, field, revokedKeys)
		}
	}
	return r
}

func parseClaimRules(f *yamlfile.File, field yamlfile.Field) (rules []policy.ClaimRule) {
	if field.Value.Kind != yaml.SequenceNode {
		f.Errorf(field.Line, "rules: want a list, not %s", field.Value.Describe())
	}
	for _, item := range field.Value.Items {
		r := policy.ClaimRule{Rule: parseRule(f, item, "rule")}
		for _, field := range item.Fields {
			switch field.Key {
			case "match":
				r.Match = parseMatch(f, field)
			case "serve-claim":
				r.ServeClaim = parseSomeTexts(f, field)
			case "dial-claim":
				r.DialClaim = parseSomeTexts(f, field)
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// parseMatch returns the claims in a mapping, which may contain further ones.
func parseMatch(f *yamlfile.File, field yamlfile.Field) (list []policy.Match) {
	if field.Value.Kind != yaml.MappingNode || len(field.Value.Fields) == 0 {
		f.Errorf(field.Line, "%s: want claims, such as {sub: alice} or {groups: [dev, ops]}, not %s", field.Key, field.Value.Describe())
	}
	for _, claim := range field.Value.Fields {
		m := policy.Match{Claim: claim.Key}
		if claim.Value.Kind == yaml.MappingNode {
			m.Members = parseMatch(f, claim)
		} else {
			m.Values = parseSomeTexts(f, claim)
		}
		list = append(list, m)
	}
	return list
}
