package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wstun/wstun/tunnel"
)

// maxToken is more than the bytes of the tokens of the usual issuers, with many groups.
const maxToken = 16 << 10

// maxDate is a time in seconds, thousands of years from now.
const maxDate = 1 << 40

// algorithms are those that an issuer may use: asymmetric ones only, because with HMAC
// somebody could sign with the public key as the secret (RFC 8725 §2.1).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Algorithms returns the names of the algorithms that an issuer may use (RFC 7518 §3.1).
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return names
}

// claims are those of a token with a valid signature.
type claims struct {
	jwt.Claims

	all   map[string]any
	keyID string // of the issuer's key, even if the token doesn't name it
	alg   string
}

// Verify checks the signature of a JWT in c, and returns the credentials with its claims,
// which Authorize checks. It may load the keys of the issuer. The error is a
// *tunnel.RefusalError with 401, or with 503 if the keys can't be loaded.
func (p *Policy) Verify(ctx context.Context, c Credentials) (Credentials, error) {
	if c.JWT == "" || p.tokens[c.Token] != nil || len(p.issuers) == 0 {
		return c, nil
	}
	var err error
	c.claims, err = p.verify(ctx, c.JWT)
	c.JWT = "" // isn't kept
	return c, err
}

func (p *Policy) verify(ctx context.Context, token string) (*claims, error) {
	if len(token) > maxToken {
		return nil, unauthorized("the token is longer than %d KiB", maxToken>>10)
	}
	sig, err := jose.ParseSignedCompact(token, algorithms)
	if e, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, unauthorized("the token's algorithm %.20q isn't allowed", e.Got)
	}
	if err != nil || len(sig.Signatures) != 1 {
		return nil, unauthorized("the token isn't a valid JWT")
	}
	// The key is that of the issuer: jwk, jku, x5c and x5u in the header count for nothing.
	header := sig.Signatures[0].Protected
	if err := checkHeader(header.ExtraHeaders); err != nil {
		return nil, err
	}
	var unverified struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(sig.UnsafePayloadWithoutVerification(), &unverified) != nil {
		return nil, unauthorized("the token's claims aren't valid")
	}
	issuer := p.issuers[unverified.Issuer]
	if issuer == nil {
		return nil, unauthorized("the token's issuer (iss) isn't in the policy")
	}
	key, err := issuer.Keys.find(ctx, header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if err != nil {
		return nil, err
	}
	payload, err := sig.Verify(key.Key)
	if err != nil {
		return nil, unauthorized("the token's signature isn't valid")
	}
	return parseClaims(payload, key.KeyID, header.Algorithm)
}

// checkHeader refuses extensions, and tokens of other kinds, such as logout tokens
// (RFC 7515 §4.1.11, RFC 8725 §3.11).
func checkHeader(extra map[jose.HeaderKey]any) error {
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := extra[name]; ok {
			return unauthorized("the token has an extension that isn't supported (%s)", string(name))
		}
	}
	typ, ok := extra[jose.HeaderType]
	text, isText := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	if ok && (!isText || text != "jwt" && text != "at+jwt") {
		return unauthorized("the token is of another kind (typ) than JWT and at+jwt")
	}
	return nil
}

// parseClaims parses the claims of a token with a valid signature, made with the algorithm and
// the issuer's key keyID. Two claims with one name are an error.
func parseClaims(payload []byte, keyID, alg string) (*claims, error) {
	c := &claims{keyID: keyID, alg: alg}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.SetNumberType(json.UnmarshalJSONNumber)
	if json.Unmarshal(payload, &c.Claims) != nil || decoder.Decode(&c.all) != nil {
		return nil, unauthorized("the token's claims aren't valid")
	}
	for _, date := range []*jwt.NumericDate{c.Expiry, c.NotBefore, c.IssuedAt} {
		if date != nil && (*date < 0 || *date > maxDate) {
			return nil, unauthorized("the token's claims aren't valid")
		}
	}
	// An address that the issuer hasn't verified isn't the user's.
	if verified, ok := c.all["email_verified"]; ok && !slices.Contains(texts(verified), "true") {
		delete(c.all, "email")
	}
	return c, nil
}

// unauthorized returns a refusal of a token (RFC 6750 §3.1).
func unauthorized(format string, args ...any) error {
	return &tunnel.RefusalError{
		Code: http.StatusUnauthorized, Header: http.Header{"WWW-Authenticate": {`Bearer error="invalid_token"`}},
		Err: fmt.Errorf(format, args...),
	}
}
