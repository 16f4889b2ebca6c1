package policy

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/wstun/wstun/tunnel/relay"
)

func values(claim string, values ...string) Match { return Match{Claim: claim, Values: values} }

// The claims of GitHub Actions, Kubernetes and Keycloak.
func TestClaimRules(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1")
	prov := newProvider(t, key)
	pods := []Match{{Claim: "kubernetes.io", Members: []Match{
		values("namespace", "prod"), {Claim: "serviceaccount", Members: []Match{values("name", "hub")}},
	}}}
	p := mustNew(t, prov.issuer(
		rule("main", []Match{values("repository", "acme/hub"), values("ref", "refs/heads/main")}, "eu-*"),
		rule("tags", []Match{values("sub", "repo:acme/hub:ref:refs/tags/*")}, "us-*"),
		ClaimRule{Rule: Rule{Name: "pods", Serve: []string{"shared"}}, Match: pods, ServeClaim: []string{"kubernetes.io", "pod", "name"}},
		ClaimRule{Rule: Rule{Name: "ops", Dial: []string{"*"}, MaxSessions: 2, MaxStreams: 3}, Match: []Match{values("groups", "ops", "sre")}},
		rule("team", []Match{values("email", "*@acme.example")}, "team-*"),
		rule("flags", []Match{values("admin", "true"), values("level", "3")}, "flag"),
		ClaimRule{Rule: Rule{Name: "minted"}, Match: []Match{values("wstun", "*")}, ServeClaim: []string{"wstun.serve"}, DialClaim: []string{"wstun.dial"}},
	))
	main := set{"repository": "acme/hub", "ref": "refs/heads/main"}
	pod := set{"kubernetes.io": set{"namespace": "prod", "serviceaccount": set{"name": "hub"}, "pod": set{"name": "hub-0"}}}
	minted := set{"wstun": 1, "wstun.serve": "eu-1", "wstun.dial": []any{"eu-*", "[", "EU", 7, []any{"deep"}}}
	for _, test := range []struct {
		claims set
		role   relay.Role
		name   string
		rule   string // "": refused
	}{
		{main, relay.Dial, "eu-1", "main"},
		{main, relay.Dial, "us-1", ""},
		{main, relay.Serve, "eu-1", ""},
		{main, relay.Dial, "", "main"},
		{main, relay.Serve, "", ""},
		{main.with(set{"ref": "refs/heads/main2"}), relay.Dial, "eu-1", ""},
		{main.with(set{"ref": nil}), relay.Dial, "eu-1", ""},
		{main.with(set{"repository": "acme/hub/x"}), relay.Dial, "eu-1", ""},
		{set{"sub": "repo:acme/hub:ref:refs/tags/v1/x"}, relay.Dial, "us-1", "tags"},
		{set{"sub": "repo:acme/hub:ref:refs/heads/main"}, relay.Dial, "us-1", ""},
		{pod, relay.Serve, "hub-0", "pods"},
		{pod, relay.Serve, "shared", "pods"},
		{pod, relay.Serve, "hub-1", ""},
		{set{"kubernetes.io": "prod"}, relay.Serve, "shared", ""},
		{set{"groups": []string{"dev", "sre"}}, relay.Dial, "w", "ops"},
		{set{"groups": "ops"}, relay.Dial, "w", "ops"},
		{set{"groups": []string{"ops2"}}, relay.Dial, "w", ""},
		{set{"groups": set{"ops": "ops"}}, relay.Dial, "w", ""},
		{set{"email": "a@acme.example"}, relay.Dial, "team-1", "team"},
		{set{"email": "a@acme.example", "email_verified": true}, relay.Dial, "team-1", "team"},
		{set{"email": "a@acme.example", "email_verified": false}, relay.Dial, "team-1", ""},
		{set{"email": "a@acme.example.evil"}, relay.Dial, "team-1", ""},
		{set{"admin": true, "level": 3}, relay.Dial, "flag", "flags"},
		{set{"admin": false, "level": 3}, relay.Dial, "flag", ""},
		{minted, relay.Serve, "eu-1", "minted"},
		{minted, relay.Serve, "eu-2", ""},
		{minted, relay.Dial, "eu-2", "minted"},
		{minted, relay.Dial, "7", "minted"},
		{minted, relay.Dial, "deep", ""},
		{minted.with(set{"wstun": nil}), relay.Dial, "eu-2", ""},
	} {
		grant, err := decide(t, p, sign(t, jose.ES256, key, nil, prov.claimsOf().with(test.claims)), test.role, test.name)
		if test.rule == "" {
			wantRefusal(t, test.name, err, 403, "may not")
		} else if err != nil || grant.Rule != test.rule {
			t.Errorf("%v %s %q: %+v, %v, want the rule %s", test.claims, test.role, test.name, grant, err, test.rule)
		}
		if test.rule == "ops" && (grant.MaxSessions != 2 || grant.MaxStreams != 3) {
			t.Errorf("the limits are %+v", grant)
		}
	}
}

// Claims that Verify has returned count by each further Policy.
func TestPolicyChanges(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1")
	prov := newProvider(t, key)
	i := prov.issuer(rule("all", anyone, "*"))
	i.SubjectClaim = "email"
	p := mustNew(t, i)
	claims := prov.claimsOf().with(set{"email": "alice@acme.example"})
	c, err := p.Verify(t.Context(), Credentials{JWT: sign(t, jose.ES256, key, nil, claims)})
	if err != nil {
		t.Fatal(err)
	}
	if grant, err := p.Authorize(c, relay.Dial, "w"); err != nil || grant.Subject != "ci:alice@acme.example" {
		t.Errorf("Authorize = %+v, %v", grant, err)
	}
	prov.keys.Store(nil) // isn't asked again
	for _, test := range []struct {
		name   string
		change func(*Issuer)
		code   int
		text   string
	}{
		{"same", func(*Issuer) {}, 0, ""},
		{"issuer", func(i *Issuer) { i.URL = "https://another" }, 401, "issuer"},
		{"audience", func(i *Issuer) { i.Audience = []string{"another"} }, 401, "audience"},
		{"algorithm", func(i *Issuer) { i.Algorithms = []string{"RS256"} }, 401, "algorithm"},
		{"rules", func(i *Issuer) { i.Rules = nil }, 403, "may not dial"},
		{"subject claim", func(i *Issuer) { i.SubjectClaim = "name" }, 401, "no subject"},
		{"revoked sub", func(i *Issuer) { i.Revoked.Subjects = []string{"alice"} }, 401, "revoked"},
		{"revoked subject", func(i *Issuer) { i.Revoked.Subjects = []string{"alice@acme.example"} }, 401, "revoked"},
		{"revoked jti", func(i *Issuer) { i.Revoked.TokenIDs = []string{"t-1"} }, 401, "revoked"},
		{"revoked kid", func(i *Issuer) { i.Revoked.KeyIDs = []string{"k1"} }, 401, "revoked"},
		{"another revoked", func(i *Issuer) { i.Revoked = Revoked{[]string{"bob"}, []string{"t-2", ""}, []string{"k2", ""}} }, 0, ""},
	} {
		changed := i
		test.change(&changed)
		_, err := mustNew(t, changed).Authorize(c, relay.Dial, "w")
		if test.code != 0 {
			wantRefusal(t, test.name, err, test.code, test.text)
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A token that doesn't name a revoked key is refused, too.
func TestRevokedKeyWithoutID(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1")
	prov := newProvider(t, key)
	token := sign(t, jose.ES256, jose.JSONWebKey{Key: key.Key}, nil, prov.claimsOf())
	i := prov.issuer(rule("all", anyone, "*"))
	if grant, err := decide(t, mustNew(t, i), token, relay.Dial, "w"); err != nil || grant.KeyID != "k1" {
		t.Errorf("before: %+v, %v, want the key k1", grant, err)
	}
	i.Revoked.KeyIDs = []string{"k1"}
	_, err := decide(t, mustNew(t, i), token, relay.Dial, "w")
	wantRefusal(t, "after", err, 401, "revoked")
}

func TestMatchText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"", "", true},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*b", "ab", true},
		{"a*b", "axb", true},
		{"a*a", "a", false},
		{"a*b*c", "abbc", true},
		{"a*b*c", "acb", false},
		{"**", "a", true},
		{"a**b", "ab", true},
		{"*a*", "xax", true},
		{"*ab*b", "ab", false},
		{"[a]?", "[a]?", true},
		{"?", "a", false},
	} {
		if got := matchText(test.pattern, test.text); got != test.want {
			t.Errorf("matchText(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}

func TestNewRefusesIssuers(t *testing.T) {
	t.Parallel()
	good := Issuer{Name: "ci", URL: "https://ci", Audience: []string{"relay"}, Keys: NewKeySet(KeySource{}, nil)}
	for want, change := range map[string]func(*Issuer){
		"its name":    func(i *Issuer) { i.Name = "a:b" },
		"no URL":      func(i *Issuer) { i.URL = "" },
		"no audience": func(i *Issuer) { i.Audience = []string{""} },
		"no keys":     func(i *Issuer) { i.Keys = nil },
		"algorithm":   func(i *Issuer) { i.Algorithms = []string{"HS256"} },
		"claims":      func(i *Issuer) { i.Rules = []ClaimRule{rule("all", nil, "*")} },
		"pattern":     func(i *Issuer) { i.Rules = []ClaimRule{rule("all", anyone, "EU")} },
	} {
		i := good
		change(&i)
		if _, err := New(nil, false, i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %s", err, want)
		}
	}
	if _, err := New(nil, false, good, good); err == nil {
		t.Error("two issuers with one name")
	}
}
