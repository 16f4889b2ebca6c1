package policy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// directory counts lookups.
type directory struct {
	relay.Directory
	lookups atomic.Int64
}

func (d *directory) Claim(string, relay.Instance, func(string)) func() { return func() {} }

func (d *directory) Locate(ctx context.Context, _ string) (string, error) {
	d.lookups.Add(1)
	<-ctx.Done()
	return "", context.Cause(ctx)
}

// A relay refuses tokens before it looks a name up, in the same words whether the worker
// exists or not.
func TestRelayRefusesBeforeLookup(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1")
	prov := newProvider(t, key)
	i := prov.issuer(rule("dial", anyone, "eu-*"),
		ClaimRule{Rule: Rule{Name: "serve", Serve: []string{"us-1"}}, Match: []Match{values("groups", "workers")}})
	p := mustNew(t, i)
	dir := &directory{}
	r := relay.New(relay.Options{
		Directory: dir, Hop: http.DefaultTransport, Hold: time.Second,
		Authorize: func(req *http.Request, role relay.Role, name string) (relay.Grant, error) {
			c, err := p.Verify(req.Context(), FromRequest(req, ""))
			if err != nil {
				return relay.Grant{}, err
			}
			return p.Authorize(c, role, name)
		},
	})
	t.Cleanup(r.Close)
	srv := httptest.NewServer(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: r.Upgrade, Plain: r.Handler(nil)}))
	t.Cleanup(srv.Close)
	dial := func(role relay.Role, name, token string) error {
		opts := &tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(role)}, Header: http.Header{"Authorization": {"Bearer " + token}}}
		if role == relay.Serve {
			opts.Session.Role = wsmux.Server
		}
		s, err := tunnel.Dial(tunneltest.Soon(t), "ws"+strings.TrimPrefix(srv.URL, "http")+relay.Path("", name), opts)
		if err == nil {
			t.Cleanup(func() { _ = s.Close() })
		}
		return err
	}
	es := func(change set) string { return sign(t, jose.ES256, key, nil, prov.claimsOf().with(change)) }
	if err := dial(relay.Serve, "us-1", es(set{"groups": "workers"})); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(es(nil), ".")
	for name, test := range map[string]struct {
		token string
		code  int
	}{
		"none":          {"eyJhbGciOiJub25lIn0." + parts[1] + ".", 401},
		"HMAC":          {sign(t, jose.HS256, jose.JSONWebKey{Key: thumbprint(t, key), KeyID: "k1"}, nil, prov.claimsOf()), 401},
		"expired":       {es(set{"exp": time.Now().Unix()}), 401},
		"audience":      {es(set{"aud": "another"}), 401},
		"issuer":        {es(set{"iss": "https://another"}), 401},
		"no such key":   {sign(t, jose.ES256, newKey(t, "k2"), nil, prov.claimsOf()), 503}, // the keys were loaded a moment ago
		"no such token": {"token", 401},
		"name":          {es(nil), 403},
	} {
		var texts []string
		for _, worker := range []string{"us-1", "us-2"} {
			he, ok := errors.AsType[*tunnel.HandshakeError](dial(relay.Dial, worker, test.token))
			if !ok || he.StatusCode != test.code {
				t.Errorf("%s: %v, want %d", name, he, test.code)
				continue
			}
			texts = append(texts, strings.ReplaceAll(he.Body, worker, "NAME"))
		}
		if len(texts) != 2 || texts[0] != texts[1] {
			t.Errorf("%s: %q", name, texts)
		}
	}
	if n := dir.lookups.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
	if err := dial(relay.Dial, "eu-1", es(nil)); err == nil || dir.lookups.Load() != 1 {
		t.Errorf("a valid token: %v, %d lookups", err, dir.lookups.Load())
	}
}
