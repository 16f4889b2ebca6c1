// Package suggest finds the name that a user meant by one that doesn't exist:
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

// Likeness is between 0 and 1.
const (
	alike  = 0.85 // the least that makes a suggestion
	partOf = 0.95 // of the beginning or the end of a name
)

// Near returns those of names that are most like name, best first: at most three of
// about equal likeness, or none. It ignores case, takes "/" for ".", and compares as
// many of the last parts of a dotted name as name has.
//
// Alike are names of a high Jaro-Winkler similarity, one that begins with name, one
// that ends in "-" and name, and a dotted one with the same last part. A name of
// fewer than three bytes is like many, so it finds only its equals.
func Near(name string, names []string) []string {
	const few, margin = 3, 0.02
	type match struct {
		name     string
		likeness float64
	}
	var found []match
	wanted := split(name)
	for _, other := range names {
		if l := likeness(wanted, split(other)); l >= alike {
			found = append(found, match{other, l})
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.likeness, a.likeness), strings.Compare(a.name, b.name))
	})
	var best []string
	for _, m := range slices.Compact(found) {
		if len(best) < few && m.likeness >= found[0].likeness-margin {
			best = append(best, m.name)
		}
	}
	return best
}

// split returns the parts of a dotted name, in lower case.
func split(name string) []string {
	return strings.Split(strings.ReplaceAll(strings.ToLower(name), "/", "."), ".")
}

func likeness(wanted, other []string) float64 {
	other = other[max(0, len(other)-len(wanted)):]
	a, b := strings.Join(wanted, "."), strings.Join(other, ".")
	switch {
	case a == b:
		return 1
	case len(a) < 3 || len(b) < 3:
		return 0
	case strings.HasPrefix(b, a) || strings.HasSuffix(b, "-"+a):
		return partOf
	}
	var l float64
	if len(a) <= 4*len(b) && len(b) <= 4*len(a) { // otherwise it's below alike, and takes time by the product of both
		l = smetrics.JaroWinkler(a, b, 0.7, 4) // as urfave/cli does
	}
	if len(wanted) > 1 && wanted[len(wanted)-1] == other[len(other)-1] {
		l = max(l, alike) // it may be in another package
	}
	return l
}
