package usage

import "testing"

// The shell reads each quoted word as it was.
func TestQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"ws://h:1/p": "ws://h:1/p", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$X": "'$X'", "*": "'*'", "=x": "'=x'", "--x=y": "--x=y", "~/x": "'~/x'", "@a": "@a", "a\nb": "'a\nb'", "!x": "'!x'", "a#b": "'a#b'",
	} {
		if got := Quote(word); got != want {
			t.Errorf("Quote(%q) = %s, want %s", word, got, want)
		}
	}
}
