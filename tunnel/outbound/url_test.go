package outbound

import "testing"

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"wss://user:pass@host:1/a%20b?token=x": "wss://host:1/a%20b",
		"ws://[::1]:7070":                      "ws://[::1]:7070",
		"ws://h/a%2Fb/%7Ec?x":                  "ws://h/a%2Fb/%7Ec",
		"WS://münchen.example:7071/wörld/a b":  "WS://münchen.example:7071/wörld/a b",
		"ws://[fe80::1%25eth0]:1/":             "ws://[fe80::1%25eth0]:1/",
		"ws://h?token=x@y/z":                   "ws://h",
		"ws://u@h/@scope":                      "ws://h/@scope",
	} {
		if _, err := ParseURL(in); err != nil {
			t.Fatal(err)
		}
		if got := RedactURL(in); got != want {
			t.Errorf("RedactURL(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestParseURLErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ws://::1:7091/":           `the URL's host is "::1:7091": an IPv6 address needs brackets: want [::1]:7091`,
		"https://2001:db8::1/path": `the URL's host is "2001:db8::1": an IPv6 address needs brackets: want [2001:db8::1]`,
		"ws://a:b:1/":              `the URL's host is "a:b:1": want host:port`,
		"ws://:7070/":              "the URL names no host",
		"ws://ü_b:1/":              `the URL's host is "ü_b": not a host name: disallowed rune U+005F`,
		"'ws://h/'":                `unknown URL scheme "'ws": want ws, wss, http or https`,
		" ws://h/":                 `unknown URL scheme " ws": want ws, wss, http or https`,
		"x y://u:secret@h/":        "the URL can't be read: special characters in user and password must be escaped",
		"ws://u:::1@h:x/":          "the URL can't be read: special characters in user and password must be escaped",
	} {
		if _, err := ParseURL(in); err == nil || err.Error() != want {
			t.Errorf("ParseURL(%q) = %v, want %s", in, err, want)
		}
	}
}

// A redacted URL has the same host and path, and nothing secret.
func FuzzRedactURL(f *testing.F) {
	f.Add("wss://user:pass@münchen.example:1/a%20b?token=x")
	f.Add("ws://u@[fe80::1%25eth0]:1?token=x@y/z#")
	f.Add("HTTP://%41@h:1//@/ü")
	f.Fuzz(func(t *testing.T, rawURL string) {
		u, err := ParseURL(rawURL)
		if err != nil {
			return
		}
		redacted := RedactURL(rawURL)
		got, err := ParseURL(redacted)
		if err != nil || got.User != nil || got.RawQuery != "" || got.Scheme != u.Scheme || got.Host != u.Host || got.EscapedPath() != u.EscapedPath() {
			t.Errorf("RedactURL(%q) = %q, which is %+v, %v", rawURL, redacted, got, err)
		}
	})
}
