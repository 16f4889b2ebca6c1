package tunnel

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// checkToken returns a refusal unless h contains the token that o requires.
func (o *AcceptOptions) checkToken(h http.Header) *RefusalError {
	token := o.Token
	if o.CurrentToken != nil {
		token = o.CurrentToken()
	}
	if token == "" {
		return nil
	}
	name, values, challenge := o.TokenHeader, h.Values(o.TokenHeader), http.Header(nil)
	if name == "" {
		name, values, challenge = "Authorization", bearerTokens(h), http.Header{"Www-Authenticate": {"Bearer"}}
	}
	problem := "no token"
	if len(values) > 0 {
		// Comparing hashes also hides the token's length.
		want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(values[0]))
		if len(values) == 1 && subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			return nil
		}
		problem = "wrong token"
	}
	refusal := refuse(http.StatusUnauthorized, "%s in the header %s", problem, http.CanonicalHeaderKey(name))
	refusal.Header = challenge
	return refusal
}

// bearerTokens returns the tokens in Authorization headers (RFC 6750 §2.1).
func bearerTokens(h http.Header) (tokens []string) {
	for _, v := range h.Values("Authorization") {
		if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	return tokens
}
