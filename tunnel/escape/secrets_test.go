package escape

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const token = `Zx9-"q+/w\7&é=`

func TestMask(t *testing.T) {
	t.Parallel()
	s := &Secrets{}
	s.Add(token, "short", "hub-token")
	quoted, _ := json.Marshal(token)
	twice, _ := json.Marshal(string(quoted))
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"short text, 100% plain \\", "short text, 100% plain \\"},
		{"a " + token + " b " + token, "a *** b ***"},
		{strings.ToUpper("hub-token") + "hub-tokenhub-token", "*********"},
		{url.QueryEscape(token) + "?" + url.PathEscape(token), "***?***"},
		{"hub%2Dtoken hub%2dtoke%6e %68ub-token", "*** *** ***"},
		{"hub%252Dtoken", "***"},
		{"%hub-token%", "%***%"},
		{strconv.Quote(token) + string(quoted), `"***""***"`},
		{string(twice), `"\"***\""`},
		{`\u0068ub-token h\x75b-token`, "*** ***"},
		{"Bearer " + token, "Bearer ***"},
		{base64.StdEncoding.EncodeToString([]byte("hub-token")) + ".", "***."},
		{"hub-toke hubtoken", "hub-toke hubtoken"},
	} {
		if got := s.Mask(test.in); got != test.want {
			t.Errorf("Mask(%q) = %q, want %q", test.in, got, test.want)
		}
	}
	if got := (*Secrets)(nil).Mask("hub-token") + (&Secrets{}).Mask("hub-token"); got != "hub-tokenhub-token" {
		t.Errorf("no secrets: %q", got)
	}
}

// Whatever precedes and follows the token, its base64 has no part from which much of it
// can be read.
func TestMaskBase64(t *testing.T) {
	t.Parallel()
	s := &Secrets{}
	s.Add("hub-token")
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		for _, word := range []string{"hub-token", "HUB-TOKEN"} {
			for before := range 6 {
				for after := range 6 {
					text := encoding.EncodeToString([]byte(strings.Repeat("~", before) + word + strings.Repeat("?", after)))
					got := s.Mask(text)
					if decoded := fromBase64(strings.ReplaceAll(got, "*", "")); !strings.Contains(got, "***") || len(got) > len(text)-8 || strings.Contains(decoded, "token") {
						t.Errorf("Mask(%s) = %s", text, got)
					}
				}
			}
		}
	}
}

func TestSecretsOfHeadersAndURLs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		add      func(*Secrets)
		in, want string
	}{
		{
			func(s *Secrets) {
				s.AddHeader(http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("user:passw0rd"))}, "Origin": {"http://example"}})
			},
			"Basic dXNlcjpwYXNzdzByZA== user passw0rd http://example", "Basic *** user *** http://example",
		},
		{func(s *Secrets) { s.AddHeader(http.Header{"Cookie": {"a=b; session=abcdefgh"}}) }, "session=abcdefgh abcdefgh a=b", "*** *** a=b"},
		{func(s *Secrets) { s.AddURL("wss://user:p%40ssw0rd@host/path?token=abcdefgh&x=%2Fsecrets") }, "user p@ssw0rd abcdefgh /secrets path", "user *** *** *** path"},
		{func(s *Secrets) { s.AddURL("https://githubtoken@host/") }, "githubtoken", "***"},
		{func(s *Secrets) { s.AddURL("ws:/user:pw@host") }, `"ws:/user:pw@host" pw@host pw`, `"ws:/***@host" ***@host pw`},
		{func(s *Secrets) { s.AddURL("wss//u:p@h") }, `"wss//u:p@h"`, `"wss//***@h"`},
		{func(s *Secrets) { s.AddURL("u:p@ss/word@h:1") }, "dial u:p@ss/word@h:1, p@ss/word", "dial ***@h:1, ***"},
		{func(s *Secrets) { s.AddURL("unix:/run/user@1/x"); s.AddURL("unix:@abstract"); s.AddURL("@file") }, "/run/user@1/x @abstract @file", "/run/user@1/x @abstract @file"},
		{func(s *Secrets) { s.AddURL("ws://user:pw@host:7070/path/@scope") }, "ws://user:pw@host:7070/path/@scope", "ws://***@host:7070/path/@scope"},
		{func(s *Secrets) { s.AddURL("ws://user:12#secret@host") }, "user:12#secret@host", "***@host"},
		{func(s *Secrets) { s.Min = 4; s.Add("abcd", "abc") }, "abcd ABCD abc", "*** ABCD abc"},
	} {
		s := &Secrets{}
		test.add(s)
		if got := s.Mask(test.in); got != test.want {
			t.Errorf("Mask(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

// The first secrets and the newest ones stay.
func TestManySecrets(t *testing.T) {
	t.Parallel()
	s := &Secrets{}
	s.Add("the first one")
	for i := range 10 * maxSecrets {
		s.Add(fmt.Sprintf("rotated-%06d", i))
	}
	if got, want := s.Mask("the first one, rotated-002558, rotated-002559, rotated-000999"), "***, ***, ***, rotated-000999"; got != want {
		t.Errorf("Mask = %q, want %q", got, want)
	}
	if len(s.secrets) != maxSecrets {
		t.Errorf("%d secrets", len(s.secrets))
	}
}

func TestMaskLargeText(t *testing.T) {
	t.Parallel()
	s := &Secrets{}
	s.Add("aaaaaaaab", strings.Repeat("a", 100)+"b")
	for _, part := range []string{"a", "%61", `\u0061`, "aaaaaaaab", "%"} {
		start := time.Now()
		s.Mask(strings.Repeat(part, 1<<18))
		if took := time.Since(start); took > 10*time.Second { // quadratic time is far more
			t.Errorf("many %s took %v", part, took)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("before ", "hub-token", " after")
	f.Add(`\`, token, "%")
	f.Add("%", "41abcdef", "")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		s := &Secrets{}
		s.add(secret)
		if len(s.secrets) == 0 || strings.Contains(secret, "*") {
			return
		}
		for _, form := range []string{secret, lower(secret), url.QueryEscape(secret), strconv.Quote(secret)} {
			if got := s.Mask(before + " " + form + " " + after); strings.Contains(lower(got), lower(secret)) {
				t.Errorf("Mask with %q = %q", secret, got)
			}
		}
		if got := s.Mask(before); got != before && !strings.Contains(got, "***") {
			t.Errorf("Mask(%q) = %q", before, got)
		}
	})
}
