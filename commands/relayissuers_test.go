package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exampleKeys is the public key of RFC 7517 §A.1.
const exampleKeys = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
	`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}]}`

// The examples of the reference.
func TestParseIssuers(t *testing.T) {
	t.Parallel()
	reference, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(reference), "### JWTs")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok || strings.Count(example, "\n  - name:") != 3 {
		t.Fatalf("the example is %q", example)
	}
	keys := &keySets{dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(keys.dir, "jwks.json"), []byte(exampleKeys), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parsePolicy([]byte(example), keys); err != nil {
		t.Errorf("the example: %v", err)
	}
	if len(keys.sets) != 3 {
		t.Errorf("%d sets of keys", len(keys.sets))
	}
	first := keys.sets
	if _, err := parsePolicy([]byte(example), keys); err != nil || len(first) != 3 {
		t.Errorf("the example again: %v, %d sets of keys", err, len(keys.sets))
	}
}

func TestParseIssuersRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.json"), []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		good  = "issuers:\n- name: ci\n  issuer: https://ci.example\n  audience: relay\n  rules:\n  - {name: all, match: {sub: '*'}, dial: ['*']}\n"
		rules = "issuers:\n- name: ci\n  issuer: https://ci.example\n  audience: relay\n  rules:\n  "
	)
	for text, want := range map[string]string{
		good:                                                 "",
		"issuers: [{rules: x}]":                              "line 1: rules: want a list",
		"issuers: []":                                        "",
		good + "  algorithms: []":                            "line 7: algorithms: the list is empty",
		"issuers: {}":                                        "line 1: issuers: want a list, not a mapping",
		"issuers: [x]":                                       "line 1: an issuer: want name, issuer, audience and rules",
		"issuers: [{}]":                                      "line 1: an issuer without name: add name: ci",
		"issuers: [{name: ci}]":                              "line 1: an issuer without issuer: add issuer: https://",
		"issuers: [{name: 'a:b'}]":                           "line 1: name: want a name of a-z, 0-9 and -",
		good + "  audiance: x":                               `line 7: unknown key "audiance"; did you mean "audience"?`,
		good + "  jwks: http://x/keys":                       "line 7: jwks: want https://, because others could replace the keys on their way, or a file",
		good + "  jwks: missing.json":                        "line 7: jwks: ",
		good + "  jwks: empty.json":                          "line 7: jwks: no public key for signatures",
		good + "  refresh: 1s":                               "line 7: refresh: want a duration from 10s to 24h, such as 10m0s",
		good + "  algorithms: [HS256]":                       `line 7: algorithms: "HS256": want some of RS256`,
		good + "  algorithms: none":                          `line 7: algorithms: "none": want`,
		good + "  algorithms: {}":                            "line 7: algorithms: want a text or a list of texts, not a mapping",
		good + "  revoked: [alice]":                          "line 7: revoked: want lists of sub, jti and kid, such as {sub: [alice]}",
		good + "  revoked: {subject: x}":                     `line 7: unknown key "subject"`,
		good + "  revoked: {jti: [[x]]}":                     "line 7: jti: want a text, not a list",
		good + good[len("issuers:\n"):]:                      `issuer "ci": two issuers with this name or URL`,
		strings.Replace(good, "https", "http", 1):            "line 3: issuer: want https://, because others could replace the keys on their way: its keys are found from there, unless jwks names their file or URL",
		rules + "- {name: all, dial: ['*']}":                 "line 6: a rule without match",
		rules + "- {name: all, match: {}}":                   "line 6: match: want claims, such as {sub: alice}",
		rules + "- {name: all, match: alice}":                "line 6: match: want claims, such as {sub: alice}",
		rules + "- {name: all, match: {sub: }}":              "line 6: sub: want a text, not nothing",
		rules + "- {name: all, match: {a: {b: {}}}}":         "line 6: b: want claims",
		rules + "- {name: all, match: {sub: x}, dial: [EU]}": `issuer "ci": "all": "EU": not a pattern`,
		rules + "- {name: all, match: {sub: x}, sha256: x}":  `line 6: unknown key "sha256"`,
	} {
		_, err := parsePolicy([]byte(text), &keySets{dir: dir})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("parsePolicy(%q) = %v, want %s", text, err, want)
		}
	}
}
