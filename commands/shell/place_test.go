package shell

import (
	"fmt"
	"testing"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{``, `top "" at 0`},
		{`  `, `top "" at 2`},
		{`{}`, `nowhere`},
		{`{} `, `top "" at 3`},
		{`{`, `key [] [] "" at 1`},
		{`{ "te`, `key [] [] "\"te" at 2`},
		{`{"te\"`, `key [] [] "\"te\\\"" at 1`},
		{`{"a"`, `nowhere`},
		{`{"a" x`, `nowhere`},
		{`{a`, `nowhere`},
		{`{"a":`, `value [] a "" at 5`},
		{`{"a": tr`, `value [] a "tr" at 6`},
		{`{"a": "x`, `value [] a "\"x" at 6`},
		{`{"a": "x"`, `nowhere`},
		{`{"a": "x", `, `key [] [a] "" at 11`},
		{`{"a": 1, "b": {"c": true, "`, `key [b] [c] "\"" at 26`},
		{`{"a": {"b": {`, `key [a b] [] "" at 13`},
		{`{"a": {"b": {}, "c": `, `value [a] c "" at 21`},
		{`{"a": {}, "c`, `key [] [a] "\"c" at 10`},
		{`{"a": [`, `element [] a "" at 7`},
		{`{"a": ["x", "y`, `element [] a "\"y" at 12`},
		{`{"a": [{"b": 1}, {"`, `key [a] [] "\"" at 18`},
		{`{"a": [{"b": [{"c":`, `value [a b] c "" at 19`},
		{`{"a": [{"b": [`, `element [a] b "" at 14`},
		{`{"a": []`, `nowhere`},
		{`{"a": 1}{"b`, `nowhere`},
		{`{"a": 1} {"b`, `key [] [] "\"b" at 10`},
		{`]`, `nowhere`},
		{`{"a": }`, `nowhere`},
		{`{"\x": `, `nowhere`},
		{`{"a",`, `nowhere`},
		{`{"a":: `, `nowhere`},
	} {
		p, ok := locate(test.text)
		got := "nowhere"
		switch {
		case !ok:
		case p.top:
			got = fmt.Sprintf("top %q at %d", p.typed, p.start)
		case p.key:
			got = fmt.Sprintf("key %v %v %q at %d", p.path, p.used, p.typed, p.start)
		case p.element:
			got = fmt.Sprintf("element %v %s %q at %d", p.path, p.field, p.typed, p.start)
		default:
			got = fmt.Sprintf("value %v %s %q at %d", p.path, p.field, p.typed, p.start)
		}
		if got != test.want {
			t.Errorf("locate(%s) = %s, want %s", test.text, got, test.want)
		}
	}
}

// Whatever is typed, the place is in the text.
func FuzzLocate(f *testing.F) {
	f.Add(`{"a": [{"b": "c", "d": tr`)
	f.Add(`{"a" : {"\u0061`)
	f.Add(`[]]{`)
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := locate(text)
		if ok && text[p.start:] != p.typed {
			t.Errorf("%q from %d on is not %q", text, p.start, p.typed)
		}
	})
}
