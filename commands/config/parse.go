package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/commands/yamlfile"
)

// Parse parses the text of the file at path. The error joins (see [errors.Join]) an error
// "PATH:LINE: TEXT" for each of the first ten mistakes. It doesn't have values that may be
// secret.
func Parse(path string, text []byte, keys Keys) (*File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := &parser{File: yamlfile.File{Name: path}, dir: filepath.Dir(abs), keys: keys}
	f := &File{Path: path, Targets: p.targets(p.Parse(text))}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// A parser parses one file.
type parser struct {
	yamlfile.File
	dir  string // of the file
	keys Keys
}

// targets returns the targets in the file with the given root, which may be nil.
func (p *parser) targets(root *yamlfile.Node) map[string]*Target {
	all := make(map[string]*Target)
	if root == nil || root.IsNull() {
		return all
	}
	const key = "targets"
	if root.Kind != yaml.MappingNode {
		p.Errorf(root.Line, "the file must be a mapping with %s, not %s", key, describe(root))
		return all
	}
	for _, f := range root.Fields {
		if f.Key != key {
			p.unknown(f, []string{key})
		}
	}
	targets := root.Get(key)
	if targets == nil || targets.IsNull() {
		return all
	}
	if targets.Kind != yaml.MappingNode {
		p.Errorf(targets.Line, "%s must be a mapping of names to targets, not %s", key, describe(targets))
		return all
	}
	for _, f := range targets.Fields {
		all[f.Key] = p.target(f)
	}
	return all
}

// name matches the names of targets. Addresses have a colon.
var name = regexp.MustCompile(`^[\pL\pN][\pL\pN._-]*$`)

func (p *parser) target(f yamlfile.Field) *Target {
	t := &Target{Name: f.Key, Line: f.Line}
	switch {
	case !name.MatchString(f.Key):
		p.Errorf(f.Line, "a target can't be called %s: want letters, digits, dots, dashes and underscores", yamlfile.Quote(f.Key))
	case f.Key == "none":
		p.Errorf(f.Line, "a target can't be called none, which means no target")
	case f.Value.Kind != yaml.MappingNode:
		p.Errorf(f.Value.Line, "target %s must be a mapping with %s and flags, not %s", f.Key, URL, describe(f.Value))
	}
	for _, f := range f.Value.Fields {
		key, ok := p.keys[f.Key]
		if !ok {
			p.unknown(f, slices.Collect(maps.Keys(p.keys)))
			continue
		}
		if values := p.values(f, key); values != nil {
			t.Settings = append(t.Settings, Setting{Key: f.Key, Line: f.Line, Values: values})
		}
	}
	return t
}

// unknown records that a key is none of known.
func (p *parser) unknown(f yamlfile.Field, known []string) {
	hint := yamlfile.DidYouMean(f.Key, known)
	if hint == "" && len(known) == 1 {
		hint = "; want " + known[0]
	}
	p.Errorf(f.Line, "unknown key %s%s", yamlfile.Quote(f.Key), hint)
}

// values returns the values of a setting, nil after a mistake.
func (p *parser) values(f yamlfile.Field, key Key) []string {
	nodes := []*yamlfile.Node{f.Value}
	if key.Repeatable && f.Value.Kind == yaml.SequenceNode {
		nodes = f.Value.Items
	}
	if len(nodes) == 0 {
		p.Errorf(f.Line, "%s is an empty list", f.Key)
	}
	var values []string
	for _, n := range nodes {
		if problem := key.Kind.check(n); problem != "" {
			p.Errorf(n.Line, "%s%s", f.Key, problem)
			return nil
		}
		values = append(values, p.absolute(key.Kind, n.Text))
	}
	return values
}

// check returns the problem with a value, "" if there is none.
func (k Kind) check(n *yamlfile.Node) string {
	if k == CommandLine {
		return " is only for the command line"
	}
	if n.Kind != yaml.ScalarNode || n.IsNull() || n.Text == "" {
		if k == Header {
			return ": want 'Name: value' in quotes, not " + describe(n)
		}
		return ": want one value, not " + describe(n)
	}
	switch k {
	case Bool:
		if _, ok := n.Bool(); !ok {
			return ": " + usage.WantBool + ", not " + n.Describe()
		}
	case Int:
		if _, err := strconv.Atoi(n.Text); err != nil {
			return ": " + usage.WantInt + ", not " + n.Describe()
		}
	case Duration:
		if _, err := time.ParseDuration(n.Text); err != nil {
			return ": " + usage.WantDuration + ", not " + n.Describe()
		}
	case Seconds:
		if _, err := usage.ParseSeconds(n.Text); err != nil {
			return ": " + err.Error() + ", not " + n.Describe()
		}
	case Size:
		if _, err := usage.ParseSize(n.Text); err != nil {
			return ": " + err.Error() + ", not " + n.Describe()
		}
	default:
		if n.Tag == "!!bool" {
			return ": want a text, not " + n.Describe()
		}
	}
	return ""
}

// absolute returns a value with a relative path in it made absolute.
func (p *parser) absolute(k Kind, value string) string {
	prefix, path := "", value
	switch k {
	case Address:
		var isUnix bool
		if path, isUnix = strings.CutPrefix(value, "unix:"); !isUnix {
			return value
		}
		prefix = "unix:"
	case Path:
		if value == "none" {
			return value
		}
	case ProtoFile:
		if _, err := os.Stat(filepath.Join(p.dir, value)); err != nil {
			return value // a name in the import paths
		}
	default:
		return value
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return prefix + path
	}
	return prefix + filepath.Join(p.dir, path)
}

// describe describes a node without its text, which may be a secret.
func describe(n *yamlfile.Node) string {
	if n.Kind != yaml.ScalarNode || n.IsNull() {
		return n.Describe()
	}
	if n.Text == "" {
		return "an empty text"
	}
	return "a text"
}
