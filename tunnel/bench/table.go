package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// controlTolerance is the largest relative difference between the two identical systems
// without a warning.
const controlTolerance = 0.1

// table formats results.
type table struct {
	header    string
	workloads []*workload
	systems   []*system
	bases     []string
	results   *results
	notes     []string
}

// measuredWorkloads returns the workloads with results.
func (t *table) measuredWorkloads() []*workload {
	return slices.DeleteFunc(slices.Clone(t.workloads), func(w *workload) bool {
		return !slices.ContainsFunc(t.systems, func(s *system) bool { return t.results.measured(w.name, s.name) })
	})
}

// basesOf returns the bases with results for w.
func (t *table) basesOf(w *workload) []string {
	return slices.DeleteFunc(slices.Clone(t.bases), func(base string) bool { return !t.results.measured(w.name, base) })
}

// writeText writes a table for each workload: a row for each system, and for each metric
// a column followed by its ratios.
func (t *table) writeText(w io.Writer) {
	fmt.Fprintf(w, "%s\n", t.header)
	for _, work := range t.measuredWorkloads() {
		bases := t.basesOf(work)
		fmt.Fprintf(w, "\n%s: %s\n", work.name, work.about)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(tw, "\t")
		for _, m := range work.metrics {
			fmt.Fprintf(tw, "%s\t", m.name)
			for _, base := range bases {
				fmt.Fprintf(tw, "× %s\t", base)
			}
		}
		fmt.Fprintln(tw)
		for _, sys := range t.systems {
			if !t.results.measured(work.name, sys.name) {
				continue
			}
			fmt.Fprintf(tw, "%s\t", sys.name)
			for i := range work.metrics {
				fmt.Fprintf(tw, "%s\t", number(t.results.median(work.name, sys.name, i)))
				for _, base := range bases {
					fmt.Fprintf(tw, "%s\t", ratio(t.results.ratio(work.name, sys.name, base, i)))
				}
			}
			fmt.Fprintln(tw)
		}
		_ = tw.Flush()
	}
	t.writeNotes(w, "")
}

// writeMarkdown writes one table: a row for each metric and a column for each
// system, with the ratio to the first base in brackets.
func (t *table) writeMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%s; in brackets: the ratio to %s.\n\n|", t.header, t.bases[0])
	for _, sys := range t.systems {
		fmt.Fprintf(w, " | %s", sys.name)
	}
	fmt.Fprintf(w, " |\n|---%s|\n", strings.Repeat("|---", len(t.systems)))
	for _, work := range t.measuredWorkloads() {
		for i, m := range work.metrics {
			fmt.Fprintf(w, "| %s, %s", work.about, m.name)
			for _, sys := range t.systems {
				cell := ""
				if t.results.measured(work.name, sys.name) {
					cell = number(t.results.median(work.name, sys.name, i))
				}
				if r := t.results.ratio(work.name, sys.name, t.bases[0], i); !math.IsNaN(r) && sys.name != t.bases[0] {
					cell += " (" + ratio(r) + ")"
				}
				fmt.Fprintf(w, " | %s", cell)
			}
			fmt.Fprintln(w, " |")
		}
	}
	t.writeNotes(w, "- ")
}

// writeNotes writes warnings of the control, and failures of workloads.
func (t *table) writeNotes(w io.Writer, bullet string) {
	notes := slices.Concat(t.control(), t.notes)
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range notes {
		fmt.Fprintf(w, "%s%s\n", bullet, note)
	}
}

// control returns a warning for each metric in which the two pairs differ by more than
// controlTolerance.
func (t *table) control() (notes []string) {
	for _, work := range t.workloads {
		for i, m := range work.metrics {
			r := t.results.ratio(work.name, controlPair, basePair, i)
			if math.Abs(r-1) > controlTolerance {
				notes = append(notes, fmt.Sprintf("WARNING: the control is off by more than %.0f %%, don't trust this: %s, %s: %s × %s",
					100*controlTolerance, work.name, m.name, ratio(r), basePair))
			}
		}
	}
	return notes
}

// number formats a value with three significant digits; NaN is a dash.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == 0:
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(decimals, 4), 64)
}

// ratio formats a ratio with two decimals; NaN is a dash.
func ratio(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
