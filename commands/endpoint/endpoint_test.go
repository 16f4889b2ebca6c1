package endpoint

import "testing"

func TestParseWindow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want uint32
	}{
		{"4MiB", 4 << 20},
		{"256KiB", 256 << 10},
		{"262144", 256 << 10},
		{"1024MiB", 1 << 30},
		{"255KiB", 0},
		{"1025MiB", 0},
		{"4MB", 0},
		{"", 0},
		{"-1", 0},
		{"1.5MiB", 0},
		{"99999999999MiB", 0},
		{"4294967295MiB", 0},
	}
	for _, tt := range tests {
		if got, err := parseWindow(tt.in); got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("parseWindow(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}
