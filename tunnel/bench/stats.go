package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the p-th percentile of sorted: the smallest value that p percent
// don't exceed. It returns 0 if sorted is empty.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*p+99)/100-1]
}

// median returns the median of values, ignoring NaN, or NaN if there are none.
func median(values []float64) float64 {
	values = slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// ratios returns the ratio of each round, or NaN if the base is 0.
func ratios(values, bases []float64) []float64 {
	r := make([]float64, len(values))
	for i := range r {
		r[i] = values[i] / bases[i]
		if math.IsInf(r[i], 0) {
			r[i] = math.NaN()
		}
	}
	return r
}

// results are the values of all rounds.
type results struct {
	values map[resultKey][]float64 // by round; NaN if there is none
	rounds int
}

type resultKey struct {
	work, system string
	metric       int
}

func newResults(rounds int) *results {
	return &results{values: map[resultKey][]float64{}, rounds: rounds}
}

// add records the values of a workload in one round.
func (r *results) add(round int, work, system string, values []float64) {
	for i, v := range values {
		key := resultKey{work, system, i}
		if r.values[key] == nil {
			r.values[key] = slices.Repeat([]float64{math.NaN()}, r.rounds)
		}
		r.values[key][round] = v
	}
}

// median returns the median over the rounds, or NaN without results.
func (r *results) median(work, system string, metric int) float64 {
	return median(r.values[resultKey{work, system, metric}])
}

// ratio returns the median of the rounds' ratios, or NaN without results.
func (r *results) ratio(work, system, base string, metric int) float64 {
	values, bases := r.values[resultKey{work, system, metric}], r.values[resultKey{work, base, metric}]
	if values == nil || bases == nil {
		return math.NaN()
	}
	return median(ratios(values, bases))
}

// measured reports whether there are results of system for work.
func (r *results) measured(work, system string) bool {
	return r.values[resultKey{work, system, 0}] != nil
}
