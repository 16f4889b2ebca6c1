package outbound

import (
	"fmt"
	"net/url"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

func TestProxyFrom(t *testing.T) {
	t.Parallel()
	both := httpproxy.Config{HTTPProxy: "plain:1", HTTPSProxy: "https://user:pw@secure"}
	without := func(noProxy string) httpproxy.Config {
		env := both
		env.NoProxy = noProxy
		return env
	}
	for _, test := range []struct {
		explicit, target string
		env              httpproxy.Config
		want             string // "": none
	}{
		{"", "ws://host/", httpproxy.Config{}, ""},
		{"", "ws://host/", both, "http://plain:1"},
		{"", "http://host/", both, "http://plain:1"},
		{"", "wss://host/", both, "https://user:pw@secure:443"},
		{"", "https://host/", both, "https://user:pw@secure:443"},
		{"", "wss://host/", httpproxy.Config{HTTPProxy: "plain:1"}, ""},
		{"", "ws://host/", httpproxy.Config{HTTPSProxy: "secure:1"}, ""},
		{"none", "wss://host/", both, ""},
		{"other", "wss://host/", both, "http://other:80"},
		{"socks5h://other", "wss://host/", without("*"), "socks5h://other:1080"},
		{"other", "ws://127.0.0.1/", both, "http://other:80"},

		{"", "wss://localhost:7070/", both, ""},
		{"", "ws://127.0.0.2:7070/", both, ""},
		{"", "ws://[::1]/", both, ""},
		{"", "ws://host/", without("*"), ""},
		{"", "ws://host/", without("host"), ""},
		{"", "ws://HOST/", without("host"), ""},
		{"", "ws://a.host/", without("host"), ""},
		{"", "ws://ahost/", without("host"), "http://plain:1"},
		{"", "ws://host/", without(".host"), "http://plain:1"},
		{"", "ws://a.host/", without("other, *.host"), ""},
		{"", "ws://host/", without("host:80"), ""},
		{"", "wss://host/", without("host:443"), ""},
		{"", "wss://host:8443/", without("host:443"), "https://user:pw@secure:443"},
		{"", "ws://10.1.2.3/", without("10.0.0.0/8"), ""},
		{"", "ws://11.1.2.3/", without("10.0.0.0/8"), "http://plain:1"},
		{"", "ws://[2001:db8::1]/", without("2001:db8::1"), ""},
		{"", "ws://münchen.example/", without("xn--mnchen-3ya.example"), ""},
		{"", "ws://a.xn--mnchen-3ya.example/", without(".MÜNCHEN.example"), ""},
		{"", "ws://localhost/", httpproxy.Config{HTTPProxy: "ftp://plain"}, ""},
	} {
		target, err := url.Parse(test.target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := proxyFrom(&test.env, test.explicit, target)
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil || text != test.want {
			t.Errorf("proxyFrom(%+v, %q, %s) = %q, %v, want %q", test.env, test.explicit, test.target, text, err, test.want)
		}
	}
}

func TestProxyFor(t *testing.T) { //nolint:paralleltest // sets the environment
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
		t.Setenv(name, "")
	}
	target := &url.URL{Scheme: "wss", Host: "host"}
	for _, env := range []struct{ name, value, want string }{
		{"HTTP_PROXY", "plain:1", "<nil>"},
		{"HTTPS_PROXY", "upper:1", "http://upper:1"},
		{"https_proxy", "lower:1", "http://lower:1"},
		{"no_proxy", "host", "<nil>"},
	} {
		t.Setenv(env.name, env.value)
		if got, err := ProxyFor("", target); err != nil || fmt.Sprint(got) != env.want {
			t.Errorf("ProxyFor with %s = %v, %v, want %s", env.name, got, err, env.want)
		}
	}
}

func TestParseProxy(t *testing.T) {
	t.Parallel()
	scheme := `unknown proxy scheme "%s": want http, https, socks5 or socks5h`
	for _, test := range []struct{ raw, want, wantErr string }{
		{raw: "host", want: "http://host:80"},
		{raw: "host:3128", want: "http://host:3128"},
		{raw: "127.0.0.1:3128", want: "http://127.0.0.1:3128"},
		{raw: "[::1]", want: "http://[::1]:80"},
		{raw: "alice:s3cret@host", want: "http://alice:s3cret@host:80"},
		{raw: "HTTP://host/", want: "http://host:80"},
		{raw: "https://host", want: "https://host:443"},
		{raw: "https://host:", want: "https://host:443"},
		{raw: "socks5://host", want: "socks5://host:1080"},
		{raw: "socks5h://[::1]:9", want: "socks5h://[::1]:9"},
		{raw: "http://a%2Fb:%40@host", want: "http://a%2Fb:%40@host:80"},
		{raw: "socks4://host", wantErr: fmt.Sprintf(scheme, "socks4")},
		{raw: "ftp://alice:s3cret@host", wantErr: fmt.Sprintf(scheme, "ftp")},
		{raw: "http://", wantErr: errProxyURL.Error()},
		{raw: "http://:3128", wantErr: errProxyURL.Error()},
		{raw: "http://host:65536", wantErr: errProxyURL.Error()},
		{raw: "http://host:http", wantErr: errProxyURL.Error()},
		{raw: "http://host/path", wantErr: errProxyURL.Error()},
		{raw: "http://alice:s3cret/@host", wantErr: errProxyURL.Error()},
		{raw: "http://alice:1/s3cret@host", wantErr: errProxyURL.Error()},
		{raw: "http://alice:1?s3cret@host", wantErr: errProxyURL.Error()},
		{raw: "http://alice:1#s3cret@host", wantErr: errProxyURL.Error()},
		{raw: "alice:s3cret://@host", wantErr: errProxyURL.Error()},
		{raw: "alice:%s3cret@host", wantErr: errProxyURL.Error()},
		{raw: "::1:3128", wantErr: `the proxy's host is "::1:3128": an IPv6 address needs brackets: want [::1]:3128`},
		{raw: "socks5://ü_b:1", wantErr: `the proxy's host is "ü_b": not a host name: disallowed rune U+005F`},
		{raw: "http://ho\x00st", wantErr: errProxyURL.Error()},
	} {
		got, err := parseProxy(test.raw)
		if test.wantErr != "" {
			if err == nil || err.Error() != test.wantErr {
				t.Errorf("parseProxy(%q) = %v, %v, want %s", test.raw, got, err, test.wantErr)
			}
			target := &url.URL{Scheme: "wss", Host: "host"}
			if _, err := proxyFrom(&httpproxy.Config{HTTPSProxy: test.raw}, "", target); err == nil || err.Error() != "HTTPS_PROXY: "+test.wantErr {
				t.Errorf("proxyFrom with %q in the environment = %v, want HTTPS_PROXY: %s", test.raw, err, test.wantErr)
			}
		} else if err != nil || got.String() != test.want {
			t.Errorf("parseProxy(%q) = %v, %v, want %s", test.raw, got, err, test.want)
		}
	}
}
