package main

import (
	"strings"
	"testing"
)

func exampleTable() *table {
	r := newResults(2)
	for round, scale := range []float64{1, 2} {
		r.add(round, "bulk", "wstun", []float64{1.5 * scale, 0.6})
		r.add(round, "bulk", "pair", []float64{3 * scale, 0.4})
		r.add(round, "bulk", "pair2", []float64{3.03 * scale, 0.46})
		r.add(round, "bulk", "frp", []float64{1 * scale, nan})
	}
	return &table{
		header:    "Medians of 2 rounds",
		workloads: []*workload{{name: "bulk", about: "bytes", metrics: []metric{{"GB/s", 1}, {"CPU ns/B", 1}}}, {name: "never"}},
		systems:   []*system{{name: "wstun"}, {name: "pair"}, {name: "pair2"}, {name: "frp"}, {name: "chisel"}},
		bases:     []string{"pair", "frp", "chisel"},
		results:   r,
		notes:     []string{"bulk, round 1: chisel: it didn't start"},
	}
}

func TestTextTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	exampleTable().writeText(&out)
	want := `Medians of 2 rounds

bulk: bytes
         GB/s  × pair  × frp  CPU ns/B  × pair  × frp
  wstun  2.25    0.50   1.50     0.600    1.50      –
   pair  4.50    1.00   3.00     0.400    1.00      –
  pair2  4.54    1.01   3.03     0.460    1.15      –
    frp  1.50    0.33   1.00         –       –      –

WARNING: the control is off by more than 10 %, don't trust this: bulk, CPU ns/B: 1.15 × pair
bulk, round 1: chisel: it didn't start
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestMarkdownTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	exampleTable().writeMarkdown(&out)
	want := `Medians of 2 rounds; in brackets: the ratio to pair.

| | wstun | pair | pair2 | frp | chisel |
|---|---|---|---|---|---|
| bytes, GB/s | 2.25 (0.50) | 4.50 | 4.54 (1.01) | 1.50 (0.33) |  |
| bytes, CPU ns/B | 0.600 (1.50) | 0.400 | 0.460 (1.15) | – |  |

- WARNING: the control is off by more than 10 %, don't trust this: bulk, CPU ns/B: 1.15 × pair
- bulk, round 1: chisel: it didn't start
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v    float64
		want string
	}{
		{nan, "–"},
		{0, "0"},
		{0.00123, "0.0012"},
		{0.0123, "0.0123"},
		{0.12345, "0.123"},
		{1.2345, "1.23"},
		{12.345, "12.3"},
		{123.45, "123"},
		{12345, "12345"},
		{-1.5, "-1.50"},
	} {
		if got := number(tt.v); got != tt.want {
			t.Errorf("number(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
}
