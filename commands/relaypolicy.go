package commands

import (
	"encoding/hex"
	"errors"

	"go.yaml.in/yaml/v4"

	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/tunnel/relay/policy"
)

// loadPolicy reads the file of --policy.
func loadPolicy(path string) (*policy.Policy, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, pathCause(err)
	}
	return parsePolicy(text)
}

func parsePolicy(text []byte) (*policy.Policy, error) {
	f := &yamlfile.File{Name: "line"}
	root := f.Parse(text)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if root == nil || root.Kind != yaml.MappingNode || root.Get("tokens") == nil {
		return nil, errors.New("want a list of tokens")
	}
	var rules []policy.Rule
	for _, field := range root.Fields {
		switch {
		case field.Key != "tokens":
			f.Errorf(field.Line, "unknown key %s%s", yamlfile.Quote(field.Key), yamlfile.DidYouMean(field.Key, []string{"tokens"}))
		case field.Value.Kind != yaml.SequenceNode:
			f.Errorf(field.Line, "tokens: want a list, not %s", field.Value.Describe())
		default:
			for _, item := range field.Value.Items {
				rules = append(rules, parseRule(f, item))
			}
		}
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return policy.New(rules)
}

// parseRule returns the rule in an item of tokens.
func parseRule(f *yamlfile.File, item *yamlfile.Node) (rule policy.Rule) {
	if item.Kind != yaml.MappingNode {
		f.Errorf(item.Line, "a token: want name, sha256, serve and dial, not %s", item.Describe())
		return rule
	}
	for _, key := range []string{"name", "sha256"} {
		if item.Get(key) == nil {
			f.Errorf(item.Line, "a token without %s", key)
		}
	}
	for _, field := range item.Fields {
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
		default:
			f.Errorf(field.Line, "unknown key %s%s", yamlfile.Quote(field.Key), yamlfile.DidYouMean(field.Key, []string{"name", "sha256", "serve", "dial"}))
		}
	}
	return rule
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
