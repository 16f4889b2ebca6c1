package commands

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/relay/policy"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("secret"))
	hash := hex.EncodeToString(sum[:])
	p, err := parsePolicy([]byte("tokens:\n- {name: alice, sha256: "+hash+", dial: ['eu-*']}\n"), &keySets{})
	if err != nil {
		t.Fatal(err)
	}
	secret := policy.Credentials{Token: policy.HashToken("secret")}
	if grant, err := p.Authorize(secret, relay.Dial, "eu-1"); err != nil || grant.Subject != "alice" {
		t.Errorf("Authorize = %+v, %v", grant, err)
	}
	p, err = parsePolicy([]byte("certificates:\n- {name: bob.example, dial: ['*'], max-sessions: 2, max-streams: 3}\n"), &keySets{})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := p.Authorize(policy.Credentials{DNSNames: []string{"bob.example"}}, relay.Dial, "eu-1")
	if err != nil || grant.Subject != "bob.example" || grant.MaxSessions != 2 || grant.MaxStreams != 3 {
		t.Errorf("Authorize = %+v, %v", grant, err)
	}
	for _, text := range []string{"tokens: []", "certificates: []"} {
		if _, err := parsePolicy([]byte(text), &keySets{}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"":                                     "want a list of tokens",
		"token: []":                            `line 1: unknown key "token"; did you mean "tokens"?`,
		"tokens: x":                            "line 1: tokens: want a list",
		"tokens: [x]":                          "line 1: a token: want name, sha256, serve and dial",
		"certificates: [x]":                    "line 1: a certificate: want name, serve and dial",
		"certificates: [{name: a, sha256: x}]": `line 1: unknown key "sha256"`,
		"certificates: [{name: a, max-streams: -1}]":                   "max-streams: want a number",
		"tokens: [{name: a, sha256: " + strings.Repeat("0", 64) + "}]": "no token has this hash",
		"tokens:\n- name: a":                                                         "line 2: a token without sha256",
		"tokens: []\nrules: ":                                                        `line 2: unknown key "rules"`,
		"tokens: [{name: a, sha256: abc}]":                                           "line 1: sha256: want the hash",
		"tokens: [{name: a, sha256: " + hash + ", serves: []}]":                      `unknown key "serves"; did you mean "serve"?`,
		"tokens: [{name: a, sha256: " + hash + ", dial: '*'}]":                       "line 1: dial: want a list of patterns",
		"tokens: [{name: a, sha256: " + hash + ", dial: [EU]}]":                      `"a": "EU": not a pattern`,
		"tokens: [{name: a, sha256: " + hash + "}, {name: b, sha256: " + hash + "}]": `"b": it has the token of "a"`,
		"tokens: [": "line 2: ",
	} {
		if _, err := parsePolicy([]byte(text), &keySets{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parsePolicy(%q) = %v, want %s", text, err, want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("tokens:\n- {name: alice, sha256: abc, dial: ['eu-*']}\n"))
	f.Add([]byte("tokens: [null, {serve: [{}]}]"))
	f.Add([]byte("issuers: [{name: ci, issuer: https://ci, audience: [a], rules: [{name: x, match: {a: {b: [c, 1]}}, dial-claim: [a, b]}], revoked: {sub: x}}]"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parsePolicy(text, &keySets{}) })
}
