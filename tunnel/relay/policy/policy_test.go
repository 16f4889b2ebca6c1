package policy

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

func sum(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p, err := New([]Rule{
		{Name: "eu", SHA256: sum("eu-token"), Serve: []string{"eu-*"}},
		{Name: "alice", SHA256: sum("alice-token"), Dial: []string{"eu-*", "us-1"}},
		{Name: "empty", SHA256: sum("")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		token   string
		role    relay.Role
		name    string
		subject string
		code    int
	}{
		{"eu-token", relay.Serve, "eu-1", "eu", 0},
		{"eu-token", relay.Serve, "us-1", "eu", 403},
		{"eu-token", relay.Dial, "eu-1", "eu", 403},
		{"alice-token", relay.Dial, "eu-1", "alice", 0},
		{"alice-token", relay.Dial, "us-1", "alice", 0},
		{"alice-token", relay.Dial, "us-11", "alice", 403},
		{"alice-token", relay.Serve, "eu-1", "alice", 403},
		{"other", relay.Dial, "eu-1", "", 401},
		{"", relay.Dial, "eu-1", "", 401},
	} {
		subject, err := p.Authorize(test.token, test.role, test.name)
		code := 0
		if refusal, ok := errors.AsType[*tunnel.RefusalError](err); ok {
			code = refusal.Code
		}
		if subject != test.subject || code != test.code {
			t.Errorf("Authorize(%q, %s, %s) = %q, %v, want %q, %d", test.token, test.role, test.name, subject, err, test.subject, test.code)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, rules := range [][]Rule{
		{{SHA256: sum("a")}},
		{{Name: "a", SHA256: sum("a")}, {Name: "a", SHA256: sum("b")}},
		{{Name: "a", SHA256: sum("a")}, {Name: "b", SHA256: sum("a")}},
		{{Name: "a", SHA256: sum("a"), Dial: []string{""}}},
		{{Name: "a", SHA256: sum("a"), Dial: []string{"eu.*"}}},
		{{Name: "a", SHA256: sum("a"), Serve: []string{"[a"}}},
		{{Name: "a", SHA256: sum("a"), Serve: []string{"EU-*"}}},
	} {
		if _, err := New(rules); err == nil {
			t.Errorf("New(%v) = nil error", rules)
		}
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"Bearer abc": "abc", "bearer  abc": "abc", "Basic abc": "", "": "", "Bearer": ""} {
		if got := BearerToken(http.Header{"Authorization": {in}}); got != want {
			t.Errorf("BearerToken(%q) = %q, want %q", in, got, want)
		}
	}
}
