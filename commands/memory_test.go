package commands

import "testing"

func TestActivity(t *testing.T) {
	t.Parallel()
	then := activity{allocated: 10 << 20, goroutines: 100}
	for _, tt := range []struct {
		name string
		now  activity
		want bool
	}{
		{"nothing", then, false},
		{"little", activity{10<<20 + 1000, 110}, false},
		{"garbage", activity{12 << 20, 100}, true},
		{"connections opened", activity{10 << 20, 200}, true},
		{"connections closed", activity{10 << 20, 10}, true},
	} {
		if got := tt.now.burst(then); got != tt.want {
			t.Errorf("%s: burst = %v, want %v", tt.name, got, tt.want)
		}
	}
	if a := readActivity(); a.allocated == 0 || a.goroutines == 0 {
		t.Errorf("readActivity() = %+v", a)
	}
}
