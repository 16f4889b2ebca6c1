package escape

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// minSecret is the default of Secrets.Min.
	minSecret = 8

	// maxSecrets bounds the secrets of a process whose token is replaced again and
	// again. The first half stays.
	maxSecrets = 256
)

// Secrets masks the tokens and passwords of this side in text that a peer may have
// composed. A secret is also found in upper or lower case, inside base64, with some of its
// characters percent-encoded or written as escapes of JSON or Go, and with two such
// encodings one over the other. The zero value has no secrets; nil never has any. All
// methods may be called concurrently.
type Secrets struct {
	// Min is the length from which a word is a secret. Those of fewer than eight
	// characters are only masked as they are, because they occur in other words, too.
	// Default: 8.
	Min int

	mu      sync.RWMutex
	secrets []secret
	added   int // all, also those that have been dropped
}

// secret is a text that Mask searches for.
type secret struct {
	exact   string   // empty if folded is set
	folded  string   // in lower case
	encoded []string // parts of its base64 that don't depend on the neighboring bytes
}

// Add adds the words of each value, and the value itself: a header's value often has more
// parts than the token.
func (s *Secrets) Add(values ...string) {
	if s == nil {
		return
	}
	for _, value := range values {
		if scheme, rest, ok := strings.Cut(value, " "); ok && isScheme(scheme) {
			value = rest
		}
		s.add(strings.TrimSpace(value))
		for _, word := range slices.Concat(strings.Fields(value), strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(` ,;="`, c) })) {
			s.add(word)
			if _, password, ok := strings.Cut(fromBase64(word), ":"); ok { // Basic credentials (RFC 7617)
				s.add(password)
			}
		}
	}
}

// AddHeader adds the values of header, since any of them may contain a token, except a few
// that are no secrets and that responses often refer to.
func (s *Secrets) AddHeader(header http.Header) {
	for name, values := range header {
		if name != "Origin" && name != "Host" && name != "User-Agent" {
			s.Add(values...)
		}
	}
}

// scheme matches the scheme of a URL, also of a mistyped one.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:?/+`)

// AddURL adds the password, or the user if there is no password, and the values of the
// query. The URL may be mistyped: everything before the last @ is its user and password
// then.
func (s *Secrets) AddURL(text string) {
	rest := text[len(scheme.FindString(text)):]
	if _, query, ok := strings.Cut(rest, "?"); ok {
		for _, value := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == '=' }) {
			s.Add(value, unescaped(value))
		}
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" && u.Fragment == "" {
		rest, _, _ = strings.Cut(rest, "/") // the path may have an @
	}
	user := rest[:max(0, strings.LastIndexByte(rest, '@'))]
	_, password, ok := strings.Cut(user, ":")
	if !ok {
		password = user
	}
	if password == "" || strings.HasPrefix(text, "unix:") || strings.HasPrefix(text, "unix-abstract:") {
		return
	}
	s.add(password)
	s.add(unescaped(password))
	s.put(secret{exact: user + "@"}) // however short they are
	s.put(secret{exact: password + "@"})
}

// add adds a word that is long enough.
func (s *Secrets) add(word string) {
	switch n := cmp.Or(s.Min, minSecret); {
	case len(word) < n, isScheme(word):
	case len(word) < minSecret:
		s.put(secret{exact: word})
	default:
		s.put(secret{folded: lower(word), encoded: toBase64(word, lower(word), strings.ToUpper(word))})
	}
}

// isScheme reports whether word is a scheme of the header Authorization.
func isScheme(word string) bool {
	return strings.EqualFold(word, "Bearer") || strings.EqualFold(word, "Basic")
}

func (s *Secrets) put(added secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.secrets, func(old secret) bool { return old.exact == added.exact && old.folded == added.folded }) {
		return
	}
	if len(s.secrets) < maxSecrets {
		s.secrets = append(s.secrets, added)
	} else {
		s.secrets[maxSecrets/2+s.added%(maxSecrets/2)] = added
	}
	s.added++
}

// Mask returns text with *** in place of each secret. It takes linear time. Mask first,
// then escape and truncate: a part of a secret isn't found.
func (s *Secrets) Mask(text string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.secrets) == 0 {
		return text
	}
	v := view{text: text}
	found := v.find(nil, s.secrets)
	for range 2 {
		if !strings.ContainsAny(v.text, `%\`) {
			break
		}
		v = v.decode()
		found = v.find(found, s.secrets)
	}
	if len(found) == 0 {
		return text
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Or(a.start-b.start, b.end-a.end) })
	var masked strings.Builder
	end := 0
	for _, f := range found {
		if f.start >= end {
			masked.WriteString(text[end:f.start] + "***")
		}
		end = max(end, f.end)
	}
	return masked.String() + text[end:]
}

// span is a part of a text.
type span struct{ start, end int }

// view is a text after decoding.
type view struct {
	text   string
	source []int // the offset in the original text of each byte, and of the end; nil: the same
}

func (v view) span(start, end int) span {
	if v.source == nil {
		return span{start, end}
	}
	return span{v.source[start], v.source[end]}
}

// find appends where the secrets are.
func (v view) find(found []span, secrets []secret) []span {
	folded, standard := lower(v.text), standardAlphabet.Replace(v.text)
	for _, s := range secrets {
		if s.exact != "" {
			for at := range indexes(v.text, s.exact) {
				found = append(found, v.span(at, at+len(strings.TrimSuffix(s.exact, "@"))))
			}
			continue
		}
		for at := range indexes(folded, s.folded) {
			found = append(found, v.span(at, at+len(s.folded)))
		}
		for _, encoded := range s.encoded {
			for at := range indexes(standard, encoded) {
				// The characters beside it also have bits of the secret.
				start, end := max(at-1, 0), min(at+len(encoded)+1, len(standard))
				if !isBase64(standard[start]) {
					start = at
				}
				if !isBase64(standard[end-1]) {
					end = at + len(encoded)
				}
				found = append(found, v.span(start, end))
			}
		}
	}
	return found
}

// indexes yields the offsets of part in text, without overlaps.
func indexes(text, part string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; ; at += len(part) {
			i := strings.Index(text[at:], part)
			if i < 0 || !yield(at+i) {
				return
			}
			at += i
		}
	}
}

// decode decodes percent-encoding and the escapes of JSON and Go.
func (v view) decode() view {
	d := view{source: make([]int, 0, len(v.text)+1)}
	out := make([]byte, 0, len(v.text))
	for i := 0; i < len(v.text); {
		begin := len(out)
		n := 1
		switch c := v.text[i]; c {
		case '%':
			out, n = appendHex(out, v.text[i:], 1, 2)
		case '\\':
			out, n = appendEscape(out, v.text[i:])
		default:
			out = append(out, c)
		}
		for range out[begin:] {
			d.source = append(d.source, v.span(i, i).start)
		}
		i += n
	}
	d.text, d.source = string(out), append(d.source, v.span(len(v.text), len(v.text)).end)
	return d
}

// appendHex appends the byte or character whose hexadecimal digits begin at s[from], and
// returns the number of bytes that it has read: one if there are no such digits.
func appendHex(out []byte, s string, from, digits int) ([]byte, int) {
	if len(s) >= from+digits {
		if c, err := strconv.ParseUint(s[from:from+digits], 16, 32); err == nil {
			if digits == 2 {
				return append(out, byte(c)), from + digits //nolint:gosec // two digits
			}
			return append(out, string(rune(c))...), from + digits //nolint:gosec // an invalid one becomes U+FFFD
		}
	}
	return append(out, s[0]), 1
}

// appendEscape is appendHex for an escape that begins with a backslash.
func appendEscape(out []byte, s string) ([]byte, int) {
	if len(s) < 2 {
		return append(out, s[0]), 1
	}
	switch s[1] {
	case 'x':
		return appendHex(out, s, 2, 2)
	case 'u':
		return appendHex(out, s, 2, 4)
	case 'U':
		return appendHex(out, s, 2, 8)
	}
	return append(out, s[1]), 2
}

// lower returns s with the ASCII letters in lower case. Its length is that of s.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// standardAlphabet replaces the characters of base64url (RFC 4648 §5).
var standardAlphabet = strings.NewReplacer("-", "+", "_", "/")

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '='
}

// toBase64 returns the parts of the base64 of a longer text that any of words causes, for
// each of the three positions that it can have there.
func toBase64(words ...string) []string {
	var parts []string
	for _, word := range words {
		for before := range 3 {
			b := append(make([]byte, before), word...)
			text := base64.RawStdEncoding.EncodeToString(b)
			text = text[(before*8+5)/6 : len(b)*8/6]
			if !slices.Contains(parts, text) {
				parts = append(parts, text)
			}
		}
	}
	return parts
}

// fromBase64 returns the text that word encodes, "" if it isn't base64.
func fromBase64(word string) string {
	b, err := base64.RawStdEncoding.DecodeString(standardAlphabet.Replace(strings.TrimRight(word, "=")))
	if err != nil {
		return ""
	}
	return string(b)
}

// unescaped returns a part of a URL without percent-encoding.
func unescaped(part string) string {
	if text, err := url.PathUnescape(part); err == nil {
		return text
	}
	return part
}
