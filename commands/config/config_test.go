package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var testKeys = Keys{
	URL:               {Kind: Address},
	"header":          {Kind: Header, Repeatable: true},
	"token-file":      {Kind: Path},
	"history":         {Kind: Path},
	"proto":           {Kind: ProtoFile, Repeatable: true},
	"listen":          {Kind: Address, Repeatable: true},
	"servername":      {Kind: Text},
	"insecure":        {Kind: Bool},
	"max-retries":     {Kind: Int},
	"connect-timeout": {Kind: Seconds},
	"ping-timeout":    {Kind: Duration},
	"max-memory":      {Kind: Size},
	"record":          {Kind: CommandLine},
}

func TestParse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hub.proto"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	f, err := Parse(filepath.Join(dir, "config.yaml"), []byte(`
targets:
  a: &a
    url: wss://h/
    token-file: token
    insecure: true
    connect-timeout: 0
  b:
    <<: *a
    url: unix:run/h.sock
    token-file: ~/token
    history: none
    proto: [hub.proto, other.proto]
    listen: [":1", "unix:l", "unix:/l", "unix:///l"]
    header: "One: 1"
    max-retries: -1
    max-memory: 1GiB
    servername: 10
  ü.1_-: {}
`), testKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*Target{
		"a": {"a", 3, []Setting{
			{"url", 4, []string{"wss://h/"}},
			{"token-file", 5, []string{filepath.Join(dir, "token")}},
			{"insecure", 6, []string{"true"}},
			{"connect-timeout", 7, []string{"0"}},
		}},
		"b": {"b", 8, []Setting{
			{"url", 10, []string{"unix:" + filepath.Join(dir, "run", "h.sock")}},
			{"token-file", 11, []string{filepath.Join(home, "token")}},
			{"history", 12, []string{"none"}},
			{"proto", 13, []string{filepath.Join(dir, "hub.proto"), "other.proto"}},
			{"listen", 14, []string{":1", "unix:" + filepath.Join(dir, "l"), "unix:/l", "unix:///l"}},
			{"header", 15, []string{"One: 1"}},
			{"max-retries", 16, []string{"-1"}},
			{"max-memory", 17, []string{"1GiB"}},
			{"servername", 18, []string{"10"}},
			{"insecure", 6, []string{"true"}},
			{"connect-timeout", 7, []string{"0"}},
		}},
		"ü.1_-": {Name: "ü.1_-", Line: 19},
	}
	for name, target := range want {
		if got := f.Targets[name]; !reflect.DeepEqual(got, target) {
			t.Errorf("%s = %v, want %v", name, got, target)
		}
	}
	if len(f.Targets) != len(want) || !f.HasHeaders(testKeys) {
		t.Errorf("targets %v, has headers: %v", f.Targets, f.HasHeaders(testKeys))
	}
	if b := f.Targets["b"]; b.Get("header")[0] != "One: 1" || b.Get("none") != nil || b.Setting("none") != nil {
		t.Errorf("Get: %v", b)
	}
}

func TestParseNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "targets:\n", "targets: {}\n"} {
		if f, err := Parse("f", []byte(text), testKeys); err != nil || len(f.Targets) != 0 {
			t.Errorf("Parse(%q) = %v, %v", text, f, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"- a", "f:1: the file must be a mapping with targets, not a list"},
		{"s3cret", "f:1: the file must be a mapping with targets, not a text"},
		{"target: {}", `f:1: unknown key "target"; did you mean "targets"?`},
		{"\nxyz: {}", `f:2: unknown key "xyz"; want targets`},
		{"targets: [a]", "f:1: targets must be a mapping of names to targets, not a list"},
		{"targets:\n  a: s3cret", "f:2: target a must be a mapping with url and flags, not a text"},
		{"targets:\n  a:", "f:2: target a must be a mapping with url and flags, not nothing"},
		{"targets: {a b: {}}", `f:1: a target can't be called "a b": want letters, digits, dots, dashes and underscores`},
		{"targets: {'h:1': {}}", `f:1: a target can't be called "h:1": want letters, digits, dots, dashes and underscores`},
		{"targets: {'@a': {}}", `f:1: a target can't be called "@a": want letters, digits, dots, dashes and underscores`},
		{"targets: {none: {}}", "f:1: a target can't be called none, which means no target"},
		{"targets: {a: {}, a: {}}", `f:1: duplicate key "a", first on line 1`},
		{"targets:\n a:\n  url:", "f:3: url: want one value, not nothing"},
		{"targets:\n a:\n  url: ''", "f:3: url: want one value, not an empty text"},
		{"targets:\n a:\n  servername: [s3cret]", "f:3: servername: want one value, not a list"},
		{"targets:\n a:\n  servername: true", `f:3: servername: want a text, not "true"`},
		{"targets:\n a:\n  header: {A: s3cret}", "f:3: header: want 'Name: value' in quotes, not a mapping"},
		{"targets:\n a:\n  header:\n  - 'A: s3cret'\n  - B: s3cret", "f:5: header: want 'Name: value' in quotes, not a mapping"},
		{"targets:\n a:\n  header: []", "f:3: header is an empty list"},
		{"targets:\n a:\n  insecure: 1", `f:3: insecure: want true or false, not "1"`},
		{"targets:\n a:\n  insecure: 'true'", `f:3: insecure: want true or false, not "true"`},
		{"targets:\n a:\n  max-retries: 1.5", `f:3: max-retries: want a whole number, not "1.5"`},
		{"targets:\n a:\n  ping-timeout: 3", `f:3: ping-timeout: want a duration with its unit, such as 30s or 5m, not "3"`},
		{"targets:\n a:\n  max-memory: 1GB", `f:3: max-memory: want a size such as 4MiB, 512KiB or 1048576, not "1GB"`},
		{"targets:\n a:\n  record: x", "f:3: record is only for the command line"},
		{"targets:\n a:\n  token_file: s3cret", `f:3: unknown key "token_file"; did you mean "token-file"?`},
		{"targets:\n a:\n  nonsense: s3cret", `f:3: unknown key "nonsense"`},
		{"targets:\n\ta: {}", "f:2: indent with spaces, not tabs"},
		{"targets: {}\n---\ntargets: {}", "f:2: the file has a second document"},
	}
	for _, tt := range tests {
		if _, err := Parse("f", []byte(tt.text), testKeys); err == nil || err.Error() != tt.want {
			t.Errorf("Parse(%q) = %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := Load(path, testKeys); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("\ufefftargets: {a: {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path, testKeys); err != nil || f.Targets["a"] == nil || f.Shared {
		t.Errorf("Load = %+v, %v", f, err)
	}
	if runtime.GOOS == "windows" {
		return // Windows has no file modes
	}
	for _, mode := range []os.FileMode{0o640, 0o604} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if f, err := Load(path, testKeys); err != nil || !f.Shared {
			t.Errorf("Load with mode %v = %+v, %v", mode, f, err)
		}
	}
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, testKeys); os.Geteuid() != 0 && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("an unreadable file: %v", err)
	}
}

// errorLine matches each error of Parse. Names in the file may contain line breaks,
// errors may not.
var errorLine = regexp.MustCompile(`^f:[1-9][0-9]*: [^\n]+$`)

func FuzzParse(f *testing.F) {
	f.Add("targets:\n  a:\n    url: unix:h\n    token-file: t\n    header: ['A: b']\n    proto: [p]\n    insecure: true\n    connect-timeout: 1s\n")
	f.Add("targets: {a: &a {max-retries: 1}, b: {<<: *a, max-memory: 1KiB, listen: [':1', 'unix:l']}}")
	f.Add("targets: {a: {record: r, header: [~, {a: b}]}, none: 1, 'b:': []}\nx: \"\\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "*") > 20 {
			t.Skip("aliases may expand to any size")
		}
		file, err := Parse("f", []byte(text), testKeys)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !errorLine.MatchString(line) {
					t.Errorf("error %q", line)
				}
			}
			return
		}
		for name, target := range file.Targets {
			if name != target.Name || strings.ContainsAny(name, "@: \n") {
				t.Errorf("target %q: %+v", name, target)
			}
			for _, s := range target.Settings {
				key, ok := testKeys[s.Key]
				if !ok || len(s.Values) == 0 || len(s.Values) > 1 && !key.Repeatable || key.Kind == CommandLine || s.Line < 1 {
					t.Errorf("setting %+v", s)
				}
			}
		}
	})
}
