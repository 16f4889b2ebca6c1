package commands

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/relay"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("secret"))
	hash := hex.EncodeToString(sum[:])
	p, err := parsePolicy([]byte("tokens:\n- {name: alice, sha256: " + hash + ", dial: ['eu-*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if subject, err := p.Authorize("secret", relay.Dial, "eu-1"); err != nil || subject != "alice" {
		t.Errorf("Authorize = %q, %v", subject, err)
	}
	if _, err := parsePolicy([]byte("tokens: []")); err != nil {
		t.Errorf("no tokens: %v", err)
	}
	for text, want := range map[string]string{
		"":                                 "want a list of tokens",
		"token: []":                        "want a list of tokens",
		"tokens: x":                        "line:1: tokens: want a list",
		"tokens: [x]":                      "line:1: a token: want name, sha256",
		"tokens:\n- name: a":               "line:2: a token without sha256",
		"tokens: []\nrules: ":              `line:2: unknown key "rules"`,
		"tokens: [{name: a, sha256: abc}]": "line:1: sha256: want the hash",
		"tokens: [{name: a, sha256: " + hash + ", serves: []}]":                      `unknown key "serves"; did you mean "serve"?`,
		"tokens: [{name: a, sha256: " + hash + ", dial: '*'}]":                       "line:1: dial: want a list of patterns",
		"tokens: [{name: a, sha256: " + hash + ", dial: [EU]}]":                      `"a": "EU": not a pattern`,
		"tokens: [{name: a, sha256: " + hash + "}, {name: b, sha256: " + hash + "}]": `"b": it has the token of "a"`,
		"tokens: [": "line:2: ",
	} {
		if _, err := parsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parsePolicy(%q) = %v, want %s", text, err, want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("tokens:\n- {name: alice, sha256: abc, dial: ['eu-*']}\n"))
	f.Add([]byte("tokens: [null, {serve: [{}]}]"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parsePolicy(text) })
}
