// Package suggest finds names similar to a mistyped one:
//
//	if names := suggest.Near("dail", commands); len(names) > 0 {
//		fmt.Printf("did you mean %s?\n", names[0])
//	}
package suggest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/xrash/smetrics"
)

// Similarities are between 0 and 1.
const (
	minSimilarity     = 0.85 // of a suggestion
	partialSimilarity = 0.95 // of a name to its prefix or suffix
)

// Near returns the names most similar to name, best first: at most three of about equal
// similarity. It ignores case, treats "/" as ".", and compares only as many of the last
// parts of a dotted name as name has.
//
// Similar names are those with a high Jaro-Winkler similarity, those that begin with
// name or end in "-" and name, and dotted ones with the same last part. A name of fewer
// than three bytes matches only its equals.
func Near(name string, names []string) []string {
	const maxNames, margin = 3, 0.02
	type match struct {
		name       string
		similarity float64
	}
	var found []match
	wanted := split(name)
	for _, other := range names {
		if l := similarity(wanted, split(other)); l >= minSimilarity {
			found = append(found, match{other, l})
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.similarity, a.similarity), strings.Compare(a.name, b.name))
	})
	var best []string
	for _, m := range slices.Compact(found) {
		if len(best) < maxNames && m.similarity >= found[0].similarity-margin {
			best = append(best, m.name)
		}
	}
	return best
}

// split returns the parts of a dotted name, in lower case.
func split(name string) []string {
	return strings.Split(strings.ReplaceAll(strings.ToLower(name), "/", "."), ".")
}

func similarity(name, other []string) float64 {
	other = other[max(0, len(other)-len(name)):]
	a, b := strings.Join(name, "."), strings.Join(other, ".")
	switch {
	case a == b:
		return 1
	case len(a) < 3 || len(b) < 3:
		return 0
	case strings.HasPrefix(b, a) || strings.HasSuffix(b, "-"+a):
		return partialSimilarity
	}
	var l float64
	if len(a) <= 4*len(b) && len(b) <= 4*len(a) { // or it's below minSimilarity, and slow to compute: the time is proportional to len(a)*len(b)
		l = smetrics.JaroWinkler(a, b, 0.7, 4) // as urfave/cli does
	}
	if len(name) > 1 && name[len(name)-1] == other[len(other)-1] {
		l = max(l, minSimilarity) // it may be in another package
	}
	return l
}
