package shell

import (
	"fmt"
	"testing"
)

func TestFindCursor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{``, `top "" at 0`},
		{`  `, `top "" at 2`},
		{`{}`, `none`},
		{`{} `, `top "" at 3`},
		{`{`, `key [] [] "" at 1`},
		{`{ "te`, `key [] [] "\"te" at 2`},
		{`{"te\"`, `key [] [] "\"te\\\"" at 1`},
		{`{"a"`, `none`},
		{`{"a" x`, `none`},
		{`{a`, `none`},
		{`{"a":`, `value [] a "" at 5`},
		{`{"a": tr`, `value [] a "tr" at 6`},
		{`{"a": "x`, `value [] a "\"x" at 6`},
		{`{"a": "x"`, `none`},
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
		{`{"a": []`, `none`},
		{`{"a": 1}{"b`, `none`},
		{`{"a": 1} {"b`, `key [] [] "\"b" at 10`},
		{`]`, `none`},
		{`{"a": }`, `none`},
		{`{"\x": `, `none`},
		{`{"a",`, `none`},
		{`{"a":: `, `none`},
	} {
		cur, ok := findCursor(test.text)
		got := "none"
		switch {
		case !ok:
		case cur.top:
			got = fmt.Sprintf("top %q at %d", cur.typed, cur.start)
		case cur.key:
			got = fmt.Sprintf("key %v %v %q at %d", cur.path, cur.used, cur.typed, cur.start)
		case cur.element:
			got = fmt.Sprintf("element %v %s %q at %d", cur.path, cur.field, cur.typed, cur.start)
		default:
			got = fmt.Sprintf("value %v %s %q at %d", cur.path, cur.field, cur.typed, cur.start)
		}
		if got != test.want {
			t.Errorf("findCursor(%s) = %s, want %s", test.text, got, test.want)
		}
	}
}

// Any text ends with the cursor's typed part.
func FuzzFindCursor(f *testing.F) {
	f.Add(`{"a": [{"b": "c", "d": tr`)
	f.Add(`{"a" : {"\u0061`)
	f.Add(`[]]{`)
	f.Fuzz(func(t *testing.T, text string) {
		cur, ok := findCursor(text)
		if ok && text[cur.start:] != cur.typed {
			t.Errorf("%q from %d on is not %q", text, cur.start, cur.typed)
		}
	})
}
