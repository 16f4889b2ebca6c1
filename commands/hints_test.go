package commands

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/relay"
)

// Hints don't advise to give flags that are given.
func TestHint(t *testing.T) {
	t.Parallel()
	const proxy = "http://h:3128"
	given := func(names ...string) usage.Given {
		g := usage.Given{}
		for _, name := range names {
			g[name] = true
		}
		return g
	}
	for _, test := range []struct {
		err       error
		given     usage.Given
		want, not string
	}{
		{&outbound.ProxyError{Proxy: proxy, StatusCode: 407}, nil, "put user and password into the proxy's URL, in HTTPS_PROXY or HTTP_PROXY: http://user:password@h:3128", "--proxy"},
		{&outbound.ProxyError{Proxy: proxy, StatusCode: 407, AuthSchemes: []string{"NTLM", "basic"}}, given("proxy"), "in --proxy: http://user:password@h:3128", "NTLM"},
		{&outbound.ProxyError{Proxy: proxy, StatusCode: 407, WithUser: true}, given("proxy"), "the proxy refuses the user and password: check them in --proxy", "put"},
		{&outbound.ProxyError{Proxy: proxy, StatusCode: 407, WithUser: true, AuthSchemes: []string{"NTLM", "Negotiate"}}, given("proxy"), "the proxy wants NTLM or Negotiate, and wstun speaks only Basic", "put"},
		{&outbound.ProxyError{Proxy: proxy, StatusCode: 407, AuthSchemes: []string{"Digest"}}, nil, "the proxy wants Digest, and wstun speaks only Basic", "put"},
		{&outbound.ProxyError{Proxy: proxy, Err: x509.UnknownAuthorityError{}}, given("cacert"), "neither the system nor --cacert", "name the"},
		{&tunnel.HandshakeError{StatusCode: 401}, nil, "give the peer's token", "check"},
		{&tunnel.HandshakeError{StatusCode: 401, Authorized: true}, given(tokenFlag), "check it, and the header that the peer expects, with --token-header", "give"},
		{&tunnel.HandshakeError{StatusCode: 401}, given(tokenFlag, "token-header"), "check it, and the name in --token-header", "give"},
		{&tunnel.HandshakeError{StatusCode: 401, Authorized: true}, nil, "user and password of the URL", "give"},
		{&tunnel.HandshakeError{StatusCode: 401}, given("header"), "check the credentials in --header", "--token-header"},
		{&tunnel.HandshakeError{StatusCode: 401, AuthSchemes: []string{"Basic"}}, nil, "put user and password into the URL", "token"},
		{&tunnel.HandshakeError{StatusCode: 401, AuthSchemes: []string{"Negotiate", "NTLM"}}, nil, "the peer wants Negotiate or NTLM, which wstun doesn't speak", "token"},
		{&tunnel.HandshakeError{StatusCode: 401, AuthSchemes: []string{"Basic", "bearer"}}, nil, "give the peer's token", "Basic"},
		{&tunnel.HandshakeError{StatusCode: 401, Body: "wstun: the token has expired"}, given(tokenFlag), "each dial reads the file of --token-file again", "header"},
		{&websocket.CloseError{Code: relay.CloseExpired}, given(tokenFlag), "get a new token or certificate", ""},
		{&tunnel.HandshakeError{StatusCode: 403}, nil, "the peer may want a token", "check"},
		{&tunnel.HandshakeError{StatusCode: 403, Body: `wstun: host "hub.example" is not a loopback address`}, nil, "the Host of a loopback address", "token"},
		{&tunnel.HandshakeError{StatusCode: 401, Headers: []string{`www-authenticate: Bearer error="invalid_token"`}}, given(tokenFlag), "get another one from its issuer", "header"},
		{&tunnel.HandshakeError{StatusCode: 403}, given("cert"), "check the token", "may want"},
		{&tunnel.HandshakeError{StatusCode: 403, Body: "wstun: the token of alice may not dial us-1"}, given(tokenFlag), "the relay's policy", "URL"},
		{&tunnel.HandshakeError{StatusCode: 403, Body: "wstun: the token of alice may not serve us-1"}, given(tokenFlag), "the relay's policy", "URL"},
		{&tunnel.HandshakeError{StatusCode: 404, Body: "wstun: eu-9 isn't connected"}, given(tokenFlag), "as wstun workers prints it", "path"},
		{&tunnel.HandshakeError{StatusCode: 400, WantsTLS: true}, nil, "try wss://", ""},
		{&tunnel.HandshakeError{StatusCode: 429, RetryAfter: 4e9}, nil, "no other dial for 4s", ""},
		{x509.UnknownAuthorityError{}, nil, "with --cacert", ""},
		{x509.UnknownAuthorityError{}, given("cacert"), "another authority than that of --cacert", "name the"},
		{x509.HostnameError{}, nil, "with --servername", ""},
		{x509.HostnameError{}, given("servername"), "check the name in --servername", "name the"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(116)}, nil, "give it with --cert and --key", ""},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, given("cert"), "doesn't trust the client certificate of --cert", "give"},
	} {
		got := hint(test.err, test.given)
		if !strings.Contains(got, test.want) || test.not != "" && strings.Contains(got, test.not) {
			t.Errorf("hint(%#v) with %v = %q, want %q and not %q", test.err, test.given, got, test.want, test.not)
		}
	}
}

// WSTUN_TOKEN counts as the flag for a token.
func TestGivenToken(t *testing.T) {
	t.Setenv("WSTUN_TOKEN", "x")
	var o *checkOptions
	p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}, parsed: func(options any) { o = options.(*checkOptions) }}
	if err := p.run(t.Context(), p.app(), []string{"wstun", "check", "ws://h/"}); err != nil || o == nil || !p.given.Set(tokenFlag) || p.given[tokenFlag] {
		t.Errorf("check with WSTUN_TOKEN: %v, given %v", err, p.given)
	}
}
