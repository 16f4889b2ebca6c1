package policy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const discoveryPath = "/.well-known/openid-configuration"

// CheckURL returns an error unless keys may be loaded from rawURL: by https, or from this
// machine by http.
func CheckURL(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("want https://HOST/PATH")
	}
	ip := net.ParseIP(u.Hostname())
	isLocal := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !isLocal) {
		return errors.New("want https://, because others could replace the keys on their way")
	}
	return nil
}

// name names the source in the log.
func (s *KeySource) name() string { return cmp.Or(s.File, s.URL, s.Issuer) }

// load returns the keys.
func (s *KeySource) load(ctx context.Context) ([]jose.JSONWebKey, error) {
	if s.File != "" {
		text, err := readFile(s.File)
		if err != nil {
			return nil, err
		}
		return parseKeys(text)
	}
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	keysURL := s.URL
	if keysURL == "" {
		if keysURL, err = s.discover(ctx, client); err != nil {
			return nil, err
		}
	}
	text, err := get(ctx, client, keysURL)
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// discover returns the jwks_uri of the issuer.
func (s *KeySource) discover(ctx context.Context, client *http.Client) (string, error) {
	text, err := get(ctx, client, strings.TrimSuffix(s.Issuer, "/")+discoveryPath)
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return "", errors.New("discovery: not a JSON object")
	}
	if doc.Issuer != s.Issuer { // OpenID Connect Discovery §4.3
		return "", fmt.Errorf("discovery: it is about the issuer %q", doc.Issuer)
	}
	if err := CheckURL(doc.JWKSURI); err != nil {
		return "", fmt.Errorf("discovery: jwks_uri %q: %w", doc.JWKSURI, err)
	}
	return doc.JWKSURI, nil
}

// client returns a client that follows no redirects and keeps no connections.
func (s *KeySource) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CACert != "" {
		text, err := readFile(s.CACert)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in PEM", s.CACert)
		}
	}
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true, MaxResponseHeaderBytes: maxKeysBytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// get returns the body of a response, which has a bounded size.
func get(ctx context.Context, client *http.Client, rawURL string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", rawURL, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeysBytes+1))
	if err == nil && len(body) > maxKeysBytes {
		err = fmt.Errorf("longer than %d KiB", maxKeysBytes>>10)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rawURL, err)
	}
	return body, nil
}
