package escape

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, line, text string }{
		{"", "", ""},
		{`C:\new "x"` + "\té日本語😀", `C:\new "x"` + "\té日本語😀", `C:\new "x"` + "\té日本語😀"},
		{"one\r\ntwo\\", `one\r\ntwo\\`, "one\\u000d\ntwo\\"},
		{"\x1b[2J\x00\x7f", `\x1b[2J\x00\x7f`, `\u001b[2J\u0000\u007f`},
		{"\u0085\u009b31m", `\u0085\u009b31m`, `\u0085\u009b31m`},
		{"a\u202eb\u2066c\u200bd\ufeff\u061c\u00ad", `a\u202eb\u2066c\u200bd\ufeff\u061c\u00ad`, `a\u202eb\u2066c\u200bd\ufeff\u061c\u00ad`},
		{"\u2028\u2029\ufe0f\u3164\u034f", `\u2028\u2029\ufe0f\u3164\u034f`, `\u2028\u2029\ufe0f\u3164\u034f`},
		{"\U000e0041\U000e0100", `\U000e0041\U000e0100`, `\udb40\udc41\udb40\udd00`},
		{"\xff\xc3(\xed\xa0\x80", `\xff\xc3(\xed\xa0\x80`, `\xff\xc3(\xed\xa0\x80`},
		{"\ufffd", "\ufffd", "\ufffd"},
	} {
		if got := Line(test.in); got != test.line {
			t.Errorf("Line(%q) = %s, want %s", test.in, got, test.line)
		}
		if got := Text(test.in); got != test.text {
			t.Errorf("Text(%q) = %q, want %q", test.in, got, test.text)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := Line(s)
		if hasHidden(line) || strings.Contains(line, "\n") {
			t.Errorf("Line(%q) = %q", s, line)
		}
		if again := Line(line); again != line {
			t.Errorf("Line(%q) = %q, and of that %q", s, line, again)
		}
		if !hasHidden(s) && !strings.Contains(s, "\n") {
			if line != s {
				t.Errorf("Line(%q) = %q", s, line)
			}
			return
		}
		var back []byte
		for rest := line; rest != ""; {
			c, multibyte, tail, err := strconv.UnquoteChar(rest, 0)
			if err != nil {
				t.Fatalf("Line(%q) = %q: %v", s, line, err)
			}
			if rest = tail; multibyte {
				back = utf8.AppendRune(back, c)
			} else {
				back = append(back, byte(c))
			}
		}
		if string(back) != s {
			t.Errorf("Line(%q) = %q, which reads %q", s, line, back)
		}
	})
}

func FuzzText(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
		quoted, _ := json.Marshal(seed)
		f.Add(string(quoted))
		f.Add("{\"\u009b\\n\": [\n\t\"\u202e\U000e0041\\\\\", 1e3]}")
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		if hasHidden(text) || strings.Count(text, "\n") != strings.Count(s, "\n") {
			t.Errorf("Text(%q) = %q", s, text)
		}
		if again := Text(text); again != text || !hasHidden(s) && text != s {
			t.Errorf("Text(%q) = %q, and of that %q", s, text, again)
		}
		if !json.Valid([]byte(s)) || !utf8.ValidString(s) || strings.Contains(s, "\r") {
			return
		}
		var before, after any
		if err := json.Unmarshal([]byte(s), &before); err != nil {
			return // such as a number that is too large
		}
		if err := json.Unmarshal([]byte(text), &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("Text(%q) = %q, in JSON %#v, %v", s, text, after, err)
		}
	})
}

var seeds = []string{"", "plain", "\x1b[31m\u202e\xff", `\x1b`, "\\\x1b\\", "one\r\ntwo", "\u009b\u2028\U000e0041", "\xed\xa0\x80"}

// hasHidden reports whether s has characters that must not reach a terminal, apart from
// line breaks. It doesn't use the package's own table.
func hasHidden(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool {
		return unicode.IsControl(c) && c != '\t' && c != '\n' ||
			unicode.In(c, unicode.Bidi_Control, unicode.Join_Control, unicode.Cf, unicode.Zl, unicode.Zp) ||
			unicode.In(c, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
	})
}

func BenchmarkText(b *testing.B) {
	for name, text := range map[string]string{
		"ascii": strings.Repeat("0123456789abcdef", 1<<12), "cjk": strings.Repeat("日本語の文字列", 1<<12), "hidden": strings.Repeat("\u009b", 1<<15),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Text(text)
			}
		})
	}
}
