package commands

import (
	"runtime"
	"testing"
)

func TestActivity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		then, now activity
		want      bool
	}{
		{"nothing", activity{10 << 20, 100, 200 << 20}, activity{10 << 20, 100, 200 << 20}, false},
		{"little", activity{10 << 20, 100, 4 << 20}, activity{10<<20 + 1000, 110, 4 << 20}, false},
		{"garbage", activity{10 << 20, 100, 4 << 20}, activity{12 << 20, 100, 4 << 20}, true},
		{"many opened", activity{10 << 20, 100, 4 << 20}, activity{10 << 20, 200, 4 << 20}, true},
		{"many closed", activity{10 << 20, 100, 4 << 20}, activity{10 << 20, 10, 4 << 20}, true},
		{"few that held much closed", activity{10 << 20, 60, 200 << 20}, activity{10 << 20, 50, 200 << 20}, true},
		{"few opened", activity{10 << 20, 60, 200 << 20}, activity{10 << 20, 70, 200 << 20}, false},
		{"one of few closed", activity{5 << 20, 20, 4 << 20}, activity{5 << 20, 17, 4 << 20}, false},
		{"one of thousands closed", activity{1 << 30, 40000, 300 << 20}, activity{1 << 30, 39996, 300 << 20}, false},
		{"at the start", activity{}, activity{1000, 10, 0}, false},
	} {
		if got := tt.now.burst(tt.then); got != tt.want {
			t.Errorf("%s: burst = %v, want %v", tt.name, got, tt.want)
		}
	}
	runtime.GC() // before it, nothing counts as live
	if a := readActivity(); a.allocated == 0 || a.goroutines == 0 || a.live == 0 {
		t.Errorf("readActivity() = %+v", a)
	}
}
