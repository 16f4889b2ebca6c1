package policy

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/wstun/wstun/tunnel"
)

// DefaultRefresh is how often the keys at a URL are loaded.
const DefaultRefresh = 10 * time.Minute

const (
	fileRefresh = time.Second
	keysTimeout = 5 * time.Second

	// leastRefresh is the least time from one load from a URL to the next, so that tokens
	// with unknown keys don't cause more of them.
	leastRefresh = 10 * time.Second

	maxKeys                = 100
	maxKeysBytes           = 512 << 10
	minRSABits, maxRSABits = 2048, 8192 // RFC 7518 §3.3; the time of a check
)

// KeySource says where the public keys of an issuer are, as a JWK set (RFC 7517 §5): in File,
// or at URL, or else at the jwks_uri of Issuer (OpenID Connect Discovery §4).
type KeySource struct {
	File, URL, Issuer string

	// CACert is a file with the authorities that are trusted for the URLs. Default: those of
	// the system.
	CACert string

	// Refresh is how often the URL is loaded. Default: DefaultRefresh. A file is read each
	// second.
	Refresh time.Duration
}

// KeySet has the public keys of an issuer. Refresh, and tokens with unknown keys, load them
// again. If that fails, the old ones stay in use.
type KeySet struct {
	source KeySource
	logger *slog.Logger

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	tried   time.Time // when the last load began
	err     error     // of the last load
	loading *loading  // nil: no load is in progress
}

// loading is a load in progress.
type loading struct {
	done chan struct{} // closed at its end, after err is set
	err  error
}

// NewKeySet returns a KeySet without keys. It logs loads and failures to logger; nil: nowhere.
func NewKeySet(source KeySource, logger *slog.Logger) *KeySet {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &KeySet{source: source, logger: logger}
}

// Refresh starts to load the keys if that is due, and doesn't block.
func (s *KeySet) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	interval := fileRefresh
	if s.source.File == "" {
		interval = cmp.Or(s.source.Refresh, DefaultRefresh)
		if s.err != nil {
			interval = min(interval, leastRefresh)
		}
	}
	if s.loading == nil && time.Since(s.tried) >= interval {
		s.start()
	}
}

// Load loads the keys. It blocks until then, for at most five seconds. The error may be a
// *tunnel.RefusalError: keys at a URL were loaded a moment ago.
func (s *KeySet) Load(ctx context.Context) error {
	s.mu.Lock()
	l := s.loading
	if l == nil {
		if wait := leastRefresh - time.Since(s.tried); wait > 0 && s.source.File == "" {
			s.mu.Unlock()
			return unavailable(wait)
		}
		l = s.start() //nolint:contextcheck // others may wait for it, too
	}
	s.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start starts to load the keys. The caller holds s.mu.
func (s *KeySet) start() *loading {
	s.tried = time.Now()
	s.loading = &loading{done: make(chan struct{})}
	go s.load(s.loading)
	return s.loading
}

// load loads the keys, for all that wait for l.
func (s *KeySet) load(l *loading) {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	keys, err := s.source.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && (s.err == nil || s.err.Error() != err.Error()):
		s.logger.Warn("keys can't be loaded", slog.String("keys", s.source.name()), slog.Int("still_in_use", len(s.keys)), slog.Any("err", err))
	case err == nil && (s.err != nil || !slices.Equal(keyIDs(keys), keyIDs(s.keys))):
		s.logger.Info("keys loaded", slog.String("keys", s.source.name()), slog.Any("key_ids", keyIDs(keys)))
	}
	if err == nil {
		s.keys = keys
	}
	s.err, l.err, s.loading = err, err, nil
	close(l.done)
}

func keyIDs(keys []jose.JSONWebKey) []string {
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].KeyID
	}
	return ids
}

// find returns the issuer's key for a token with this key ID and algorithm. Without a key ID,
// there must be only one that fits. If there is none, it loads the keys first. The error is
// a *tunnel.RefusalError with 401, or with 503 if the keys can't be loaded now.
func (s *KeySet) find(ctx context.Context, id string, alg jose.SignatureAlgorithm) (*jose.JSONWebKey, error) {
	keys := s.fitting(id, alg)
	if len(keys) == 0 {
		if err := s.Load(ctx); err != nil {
			if refusal, ok := errors.AsType[*tunnel.RefusalError](err); ok {
				return nil, refusal
			}
			return nil, unavailable(leastRefresh)
		}
		keys = s.fitting(id, alg)
	}
	switch {
	case len(keys) == 0:
		return nil, unauthorized("the issuer of the token has no such key")
	case len(keys) > 1:
		return nil, unauthorized("the token's header must name one of the issuer's keys (kid)")
	}
	return &keys[0], nil
}

func (s *KeySet) fitting(id string, alg jose.SignatureAlgorithm) (keys []jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if (id == "" || k.KeyID == id) && (k.Algorithm == "" || k.Algorithm == string(alg)) && slices.Contains(algorithmsOf(k.Key), alg) {
			keys = append(keys, k)
		}
	}
	return keys
}

// algorithmsOf returns the algorithms for a public key, none for others and weak ones. One key
// never serves algorithms of two kinds (RFC 8725 §3.1).
func algorithmsOf(key any) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= minRSABits && bits <= maxRSABits {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey: // RFC 7518 §3.4
		return map[string][]jose.SignatureAlgorithm{"P-256": {jose.ES256}, "P-384": {jose.ES384}, "P-521": {jose.ES512}}[key.Params().Name]
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// parseKeys parses a JWK set. It leaves out the keys that can't check signatures.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && k.Valid() && (k.Use == "" || k.Use == "sig") && algorithmsOf(k.Key) != nil {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key for signatures: want RSA with 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")
	}
	return keys, nil
}

// unavailable returns a refusal with status 503: the key of a token may be a new one, but the
// keys can't be loaded before wait.
func unavailable(wait time.Duration) error {
	seconds := strconv.Itoa(int(wait.Seconds()) + 1)
	return &tunnel.RefusalError{
		Code: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {seconds}},
		Err: errors.New("the relay doesn't have the key of this token yet, and can't load the issuer's keys now"),
	}
}

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxKeysBytes) {
		err = fmt.Errorf("%s: want a file of at most %d KiB", path, maxKeysBytes>>10)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
