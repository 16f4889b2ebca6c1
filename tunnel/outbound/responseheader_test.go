package outbound

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"
)

func TestAuthSchemes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{"Negotiate", "NTLM"}, "Negotiate NTLM"},
		{[]string{"Negotiate dGVzdA==, NTLM,Basic realm=\"a, Digest b\", charset=\"UTF-8\""}, "Negotiate NTLM Basic"},
		{[]string{`Digest realm="a\", Fake \\", qop = "auth, int", nonce="x"`, "Basic"}, "Digest Basic"},
		{[]string{", ,NTLM", "NTLM"}, "NTLM"},
		{[]string{"Basic realm=\"unclosed, NTLM"}, "Basic"},
		{[]string{"\x1b[1m, b\u00e9, " + strings.Repeat("x", maxSchemeName+1) + ", Bearer"}, "Bearer"},
		{[]string{"a,b,c,d,e,f,g,h,i"}, "a b c d e f g h"},
	} {
		if got := strings.Join(AuthSchemes(test.values), " "); got != test.want {
			t.Errorf("AuthSchemes(%q) = %q, want %q", test.values, got, test.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	sent := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	in := func(d time.Duration) string { return sent.Add(d).Format(http.TimeFormat) }
	for _, test := range []struct {
		code  int
		value string
		want  time.Duration
	}{
		{429, "4", 4 * time.Second},
		{503, " 120 ", 2 * time.Minute},
		{503, "0", 0},
		{429, "301", MaxRetryAfter},
		{429, strings.Repeat("9", 100), MaxRetryAfter},
		{503, in(7 * time.Second), 7 * time.Second},
		{503, in(time.Hour), MaxRetryAfter},
		{503, in(-time.Hour), 0},
		{429, sent.Add(time.Minute).Format(time.ANSIC), time.Minute},
		{429, "-4", 0},
		{429, "4.5", 0},
		{429, "soon", 0},
		{429, "", 0},
		{502, "4", 0},
		{200, "4", 0},
	} {
		header := http.Header{"Retry-After": {test.value}, "Date": {in(0)}}
		if got := RetryAfter(test.code, header); got != test.want {
			t.Errorf("RetryAfter(%d, %q) = %v, want %v", test.code, test.value, got, test.want)
		}
	}
	header := http.Header{"Retry-After": {time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)}}
	if got := RetryAfter(503, header); got < 50*time.Second || got > time.Minute {
		t.Errorf("RetryAfter without Date = %v, want about 1m", got)
	}
}

func FuzzResponseHeader(f *testing.F) {
	f.Add("Negotiate, Basic realm=\"a, b\"", "120")
	f.Add(`Digest x="\`, "Sat, 03 Feb 2001 04:05:06 GMT")
	f.Fuzz(func(t *testing.T, challenge, after string) {
		schemes := AuthSchemes([]string{challenge, challenge})
		if len(schemes) > maxSchemes || slices.ContainsFunc(schemes, func(s string) bool { return len(s) > maxSchemeName || !httpguts.ValidHeaderFieldName(s) }) {
			t.Errorf("AuthSchemes(%q) = %q", challenge, schemes)
		}
		if d := RetryAfter(503, http.Header{"Retry-After": {after}}); d < 0 || d > MaxRetryAfter {
			t.Errorf("RetryAfter(%q) = %v", after, d)
		}
	})
}
