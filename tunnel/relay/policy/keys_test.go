package policy

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// age makes the last load of the keys as much older.
func (s *KeySet) age(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried = s.tried.Add(-d)
}

// A new key is loaded when a token needs it, but not before leastRefresh. A key that is
// removed stays in use until the next load.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	k1, k2 := newKey(t, "k1"), newKey(t, "k2")
	prov := newProvider(t, k1)
	i := prov.issuer(rule("all", anyone, "*"))
	p := mustNew(t, i)
	old, young := sign(t, jose.ES256, k1, nil, prov.claimsOf()), sign(t, jose.ES256, k2, nil, prov.claimsOf())
	try := func(name, token string, code int, text string) {
		t.Helper()
		_, err := decide(t, p, token, relay.Dial, "w")
		if code != 0 {
			wantRefusal(t, name, err, code, text)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	try("first", old, 0, "")
	prov.publish(k2)
	try("too soon", young, 503, "doesn't have the key of this token yet")
	try("old", old, 0, "")
	i.Keys.age(leastRefresh)
	try("young", young, 0, "")
	try("old, after its removal", old, 503, "")
	i.Keys.age(leastRefresh)
	try("old, after another load", old, 401, "no such key")
	if n := prov.fetches.Load(); n != 3 {
		t.Errorf("%d fetches, want 3", n)
	}
}

// While the provider is down, the old keys stay in use, and are loaded again later.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	k1 := newKey(t, "k1")
	prov := newProvider(t, k1)
	up := prov.keys.Load()
	prov.keys.Store(nil)
	var log strings.Builder
	i := prov.issuer(rule("all", anyone, "*"))
	i.Keys.logger = slog.New(slog.NewTextHandler(&log, nil))
	p := mustNew(t, i)
	token := sign(t, jose.ES256, k1, nil, prov.claimsOf())
	_, err := decide(t, p, token, relay.Dial, "w")
	wantRefusal(t, "no keys", err, 503, "can't load")
	if refusal, _ := errors.AsType[*tunnel.RefusalError](err); refusal.Header.Get("Retry-After") != "11" {
		t.Errorf("Retry-After is %q", refusal.Header.Get("Retry-After"))
	}
	refresh := func() { // as if it were due
		i.Keys.age(DefaultRefresh)
		p.Refresh()
		i.Keys.mu.Lock()
		l := i.Keys.loading
		i.Keys.mu.Unlock()
		if l != nil {
			<-l.done
		}
	}
	prov.keys.Store(up)
	refresh()
	prov.keys.Store(nil)
	for range 3 {
		refresh()
	}
	if _, err := decide(t, p, token, relay.Dial, "w"); err != nil {
		t.Errorf("with the keys from before: %v", err)
	}
	_, err = decide(t, p, sign(t, jose.ES256, newKey(t, "k2"), nil, prov.claimsOf()), relay.Dial, "w")
	wantRefusal(t, "another key", err, 503, "")
	prov.keys.Store(up)
	refresh()
	if got := strings.Count(log.String(), "keys can't be loaded"); got != 2 {
		t.Errorf("%d warnings in the log: %s", got, &log)
	}
	if got := strings.Count(log.String(), "keys loaded"); got != 2 || !strings.Contains(log.String(), "key_ids=[k1]") {
		t.Errorf("%d loads in the log: %s", got, &log)
	}
}

// Many tokens with unknown keys cause one fetch.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	prov := newProvider(t, newKey(t, "k1"))
	i := prov.issuer(rule("all", anyone, "*"))
	p := mustNew(t, i)
	token := sign(t, jose.ES256, newKey(t, "unknown"), nil, prov.claimsOf())
	_, err := decide(t, p, token, relay.Dial, "w")
	wantRefusal(t, "first", err, 401, "no such key")
	for n := int64(2); n < 4; n++ {
		i.Keys.age(leastRefresh)
		var wg sync.WaitGroup
		var refused atomic.Int64
		for range 100 {
			wg.Go(func() {
				if _, err := p.Verify(t.Context(), Credentials{JWT: token}); err != nil {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if got := prov.fetches.Load(); got != n || refused.Load() != 100 {
			t.Errorf("%d fetches, want %d; %d refused", got, n, refused.Load())
		}
	}
}

// A file with keys is read again.
func TestKeysInFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jwks.json")
	write := func(keys ...jose.JSONWebKey) {
		set := jose.JSONWebKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, k.Public())
		}
		text, err := json.Marshal(set)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k1, k2 := newKey(t, "k1"), newKey(t, "k2")
	s := NewKeySet(KeySource{File: path}, nil)
	if err := s.Load(t.Context()); err == nil {
		t.Error("a file that doesn't exist is loaded")
	}
	write(k1)
	if _, err := s.find(t.Context(), "k1", jose.ES256); err != nil {
		t.Error(err)
	}
	write(k2)
	s.age(fileRefresh)
	s.Refresh()
	if _, err := s.find(t.Context(), "k2", jose.ES256); err != nil {
		t.Error(err)
	}
	write(k1) // a moment after the file was read
	if _, err := s.find(t.Context(), "k1", jose.ES256); err != nil {
		t.Error(err)
	}
	_, err := s.find(t.Context(), "k2", jose.ES256)
	wantRefusal(t, "a key that isn't in the file", err, 401, "no such key")
}

// A provider that doesn't answer, or answers with something else, has no keys.
func TestOddProviders(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	mux := http.NewServeMux()
	answer := func(path, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	answer("/long", `{"keys":[],"x":"`+strings.Repeat("x", maxKeysBytes)+`"}`)
	answer("/none", `{"keys":[{"kty":"oct","k":"AAAA"}]}`)
	answer("/many", `{"keys":[`+strings.Repeat("{},", maxKeys)+`{}]}`)
	answer("/html", `<html>`)
	answer("/another"+discoveryPath, `{"issuer":"https://another","jwks_uri":"https://another/keys"}`)
	mux.Handle("/moved", http.RedirectHandler("/none", http.StatusFound))
	mux.HandleFunc("/hangs", func(http.ResponseWriter, *http.Request) { <-release })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	mux.HandleFunc("/http"+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + srv.URL + `/http","jwks_uri":"http://keys.example/"}`))
	})
	for _, test := range []struct {
		source KeySource
		want   string
	}{
		{KeySource{URL: srv.URL + "/long"}, "longer than 512 KiB"},
		{KeySource{URL: srv.URL + "/none"}, "no public key"},
		{KeySource{URL: srv.URL + "/many"}, "more than 100 keys"},
		{KeySource{URL: srv.URL + "/html"}, "not a JWK set"},
		{KeySource{URL: srv.URL + "/moved"}, "status 302"},
		{KeySource{URL: srv.URL + "/absent"}, "status 404"},
		{KeySource{Issuer: srv.URL + "/another"}, `issuer "https://another"`},
		{KeySource{Issuer: srv.URL + "/http"}, "want https://"},
		{KeySource{Issuer: srv.URL + "/html"}, "status 404"},
	} {
		_, err := test.source.load(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("load(%+v) = %v, want %s", test.source, err, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	hangs := KeySource{URL: srv.URL + "/hangs"}
	if _, err := hangs.load(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a provider that hangs: %v", err)
	}
}

// The authority of the provider's certificate may be one that the system doesn't trust.
func TestKeysCACert(t *testing.T) {
	t.Parallel()
	set := jose.JSONWebKeySet{}
	key := newKey(t, "k1")
	set.Keys = append(set.Keys, key.Public())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	source := KeySource{URL: srv.URL, CACert: path}
	if keys, err := source.load(t.Context()); err != nil || len(keys) != 1 {
		t.Errorf("load = %d keys, %v", len(keys), err)
	}
	source.CACert = ""
	if _, err := source.load(t.Context()); err == nil {
		t.Error("an unknown authority is trusted")
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for rawURL, ok := range map[string]bool{
		"https://login.example/realms/x": true, "http://127.0.0.1:5556/dex": true, "http://[::1]:1": true, "http://localhost": true,
		"http://login.example": false, "https://": false, "login.example": false, "https://u:p@login.example": false,
		"https://login.example#x": false, "http://127.0.0.1.example": false, "file:///etc/passwd": false, "": false,
	} {
		if err := CheckURL(rawURL); (err == nil) != ok {
			t.Errorf("CheckURL(%q) = %v", rawURL, err)
		}
	}
}
