package commands

import (
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/tunnel/relay/policy"
)

// loadPolicy reads the file of --policy.
func loadPolicy(path string, keys *keySets) (*policy.Policy, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, pathCause(err)
	}
	return parsePolicy(text, keys)
}

// policyKeys are the keys of a policy.
var policyKeys = []string{"tokens", "certificates", "issuers"}

func parsePolicy(text []byte, keys *keySets) (*policy.Policy, error) {
	f := &yamlfile.File{}
	root := f.Parse(text)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if root == nil || root.Kind != yaml.MappingNode || len(root.Fields) == 0 {
		return nil, errors.New("want a list of tokens, certificates or issuers")
	}
	var rules []policy.Rule
	var issuers []policy.Issuer
	for _, field := range root.Fields {
		switch {
		case !slices.Contains(policyKeys, field.Key):
			unknownKey(f, field, policyKeys)
		case field.Value.Kind != yaml.SequenceNode:
			f.Errorf(field.Line, "%s: want a list, not %s", field.Key, field.Value.Describe())
		default:
			for _, item := range field.Value.Items {
				switch field.Key {
				case "tokens":
					rules = append(rules, parseRule(f, item, "token"))
				case "certificates":
					rules = append(rules, parseRule(f, item, "certificate"))
				case "issuers":
					issuers = append(issuers, parseIssuer(f, item, keys))
				}
			}
		}
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return policy.New(rules, root.Get("certificates") != nil, issuers...)
}

func unknownKey(f *yamlfile.File, field yamlfile.Field, keys []string) {
	f.Errorf(field.Line, "unknown key %s%s", yamlfile.Quote(field.Key), yamlfile.DidYouMean(field.Key, keys))
}

// The keys that a kind of rule has besides the common ones; the first one is required.
var ruleKeys = map[string][]string{"token": {"sha256"}, "certificate": nil, "rule": {"match", "serve-claim", "dial-claim"}}

// parseRule returns the rule in a list. The caller parses the keys of a rule for claims.
func parseRule(f *yamlfile.File, item *yamlfile.Node, kind string) (rule policy.Rule) {
	own := ruleKeys[kind]
	keys := append([]string{"name", "serve", "dial", "max-sessions", "max-streams"}, own...)
	required := append([]string{"name"}, own[:min(len(own), 1)]...)
	if item.Kind != yaml.MappingNode {
		f.Errorf(item.Line, "a %s: want %s, serve and dial, not %s", kind, strings.Join(required, ", "), item.Describe())
		return rule
	}
	for _, key := range required {
		if item.Get(key) == nil {
			f.Errorf(item.Line, "a %s without %s", kind, key)
		}
	}
	for _, field := range item.Fields {
		if !slices.Contains(keys, field.Key) {
			unknownKey(f, field, keys)
			continue
		}
		switch v := field.Value; field.Key {
		case "name":
			rule.Name = v.Text
		case "sha256":
			hash, err := hex.DecodeString(v.Text)
			if err != nil || len(hash) != len(rule.SHA256) {
				f.Errorf(field.Line, "sha256: want the hash of a token, 64 hexadecimal digits")
			}
			copy(rule.SHA256[:], hash)
		case "serve":
			rule.Serve = parsePatterns(f, field)
		case "dial":
			rule.Dial = parsePatterns(f, field)
		case "max-sessions":
			rule.MaxSessions = parseLimit(f, field)
		case "max-streams":
			rule.MaxStreams = parseLimit(f, field)
		}
	}
	if kind == "token" && rule.SHA256 == (policy.Hash{}) && f.Err() == nil { // policy would take it for a certificate
		f.Errorf(item.Line, "sha256: no token has this hash")
	}
	return rule
}

func parseLimit(f *yamlfile.File, field yamlfile.Field) int {
	n, err := strconv.Atoi(field.Value.Text)
	if err != nil || n < 1 {
		f.Errorf(field.Line, "%s: want a number from 1", field.Key)
	}
	return n
}

func parsePatterns(f *yamlfile.File, field yamlfile.Field) (patterns []string) {
	if field.Value.Kind != yaml.SequenceNode {
		f.Errorf(field.Line, "%s: want a list of patterns such as ['eu-*'], not %s", field.Key, field.Value.Describe())
	}
	for _, item := range field.Value.Items {
		patterns = append(patterns, item.Text)
		if item.Kind != yaml.ScalarNode {
			f.Errorf(item.Line, "%s: want patterns, not %s", field.Key, item.Describe())
		}
	}
	return patterns
}
