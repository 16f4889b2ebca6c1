package usage

import (
	"testing"
	"time"
)

func TestParseSeconds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{"3": 3 * time.Second, "0.5": time.Second / 2, "1m30s": 90 * time.Second, "0": 0, "-1s": -time.Second, "-1": -time.Second} {
		if got, err := ParseSeconds(in); err != nil || got != want {
			t.Errorf("ParseSeconds(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "soon", "1e300", "-1e300", "NaN", "Inf"} {
		if got, err := ParseSeconds(in); err == nil {
			t.Errorf("ParseSeconds(%q) = %v, want an error", in, got)
		}
	}
}
