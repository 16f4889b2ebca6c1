package target

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }

func TestParseMaxTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "0.25": 250 * time.Millisecond, "1m30s": 90 * time.Second, "2h": 2 * time.Hour,
	} {
		if got, err := ParseMaxTime(in); err != nil || got != want {
			t.Errorf("ParseMaxTime(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"-1", "-1s", "soon", "1e30", "NaN", "Inf"} {
		if got, err := ParseMaxTime(in); err == nil {
			t.Errorf("ParseMaxTime(%q) = %v, %v, want an error", in, got, err)
		}
	}
}
