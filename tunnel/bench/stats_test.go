package main

import (
	"math"
	"testing"
	"time"
)

var nan = math.NaN()

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, nan},
		{[]float64{nan}, nan},
		{[]float64{7}, 7},
		{[]float64{9, 1, 4}, 4},
		{[]float64{9, 1, 4, 6}, 5},
		{[]float64{nan, 9, nan, 1}, 5},
	} {
		if got := median(tt.values); !same(got, tt.want) {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tt := range []struct {
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{nil, 50, 0},
		{hundred[:1], 50, 1},
		{hundred[:1], 99, 1},
		{hundred[:3], 50, 2},
		{hundred[:10], 99, 10},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
	} {
		if got := percentile(tt.sorted, tt.p); got != tt.want {
			t.Errorf("percentile of %d values, %d = %v, want %v", len(tt.sorted), tt.p, got, tt.want)
		}
	}
}

// A ratio is the median of the rounds' ratios, not the ratio of medians.
func TestRatio(t *testing.T) {
	t.Parallel()
	r := newResults(3)
	for round, base := range []float64{10, 20, 1000} {
		r.add(round, "w", "base", []float64{base, 0})
		r.add(round, "w", "half", []float64{base / 2, 1})
	}
	r.add(1, "w", "once", []float64{60})
	r.add(2, "w", "never", []float64{nan})
	for _, tt := range []struct {
		system, base string
		metric       int
		want         float64
	}{
		{"half", "base", 0, 0.5},
		{"base", "half", 0, 2},
		{"once", "base", 0, 3},
		{"never", "base", 0, nan},
		{"half", "base", 1, nan}, // the base is 0
		{"half", "unknown", 0, nan},
		{"unknown", "base", 0, nan},
	} {
		if got := r.ratio("w", tt.system, tt.base, tt.metric); !same(got, tt.want) {
			t.Errorf("ratio(%s, %s, %d) = %v, want %v", tt.system, tt.base, tt.metric, got, tt.want)
		}
	}
	if got := r.median("w", "base", 0); got != 20 {
		t.Errorf("median = %v, want 20", got)
	}
	if r.measured("w", "unknown") || r.measured("other", "base") || !r.measured("w", "once") {
		t.Error("measured: wrong result")
	}
}
