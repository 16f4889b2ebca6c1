package endpoint

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLines(t *testing.T) {
	t.Setenv("ONE", "1:${TWO}")
	t.Setenv("EMPTY", "")
	for in, want := range map[string]string{
		"x: ${ONE}":     "x: 1:${TWO}", // not expanded again
		"x: a${EMPTY}b": "x: ab",
		"x: $ONE":       "x: $ONE",
		"x: ${}":        "x: ${}",
		"x: ${MISSING}": "!",
	} {
		got, err := Lines("header", []string{in}, true)
		if err != nil {
			got = []string{"!"}
		}
		if strings.Join(got, "|") != want {
			t.Errorf("Lines(%q) = %q, %v, want %q", in, got, err, want)
		}
		if got, err := Lines("header", []string{in}, false); err != nil || got[0] != in {
			t.Errorf("Lines(%q) without expanding = %q, %v", in, got, err)
		}
	}
}
