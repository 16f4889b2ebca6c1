package reflection

import (
	"cmp"
	"slices"
	"strings"
)

// Completion is one completion of a partly typed name.
type Completion struct {
	Text string // replaces the typed text; may be a short name
	Name string // the full name
}

// Complete returns the completions of a partly typed name, sorted. names are in the form
// of [Catalog.Symbols]. For each matching name it returns the shortest suffix that begins
// with typed and belongs to no other name. It offers the members of a symbol, such as
// fields, only if typed includes that symbol.
func Complete(typed string, names []string) []Completion {
	prefix := strings.TrimLeft(typed, "./")
	found := completeWith(prefix, names, func(name string) string { return name })
	if len(found) == 0 { // maybe pkg.Service.Method
		found = completeWith(prefix, names, func(name string) string { return strings.ReplaceAll(name, "/", ".") })
	}
	for i := range found {
		found[i].Text = typed[:len(typed)-len(prefix)] + found[i].Text
	}
	slices.SortFunc(found, func(a, b Completion) int {
		return cmp.Or(strings.Compare(a.Text, b.Text), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(found)
}

// maxSuffixes bounds the memory for a completion: names of a peer may have hundreds of
// parts. The names with further suffixes aren't offered.
const maxSuffixes = 1_000_000

func completeWith(prefix string, names []string, format func(string) string) []Completion {
	known, shared := map[string]bool{}, map[string]int{}
	for _, name := range names {
		known[format(name)] = true
	}
	for _, name := range names {
		for _, suffix := range suffixes(format(name)) {
			if strings.HasPrefix(suffix, prefix) && (prefix != "" || known[suffix]) {
				shared[suffix]++
			}
		}
		if len(shared) > maxSuffixes {
			break
		}
	}
	var found []Completion
	for _, name := range names {
		all := suffixes(format(name))
		if prefix == "" {
			all = all[:1] // any suffix would match
		}
		nameParent, isMethod := parent(format(name))
		for _, suffix := range slices.Backward(all) {
			if shared[suffix] != 1 {
				continue
			}
			suffixParent, _ := parent(suffix)
			hidden := known[nameParent] && (suffixParent != "" && strings.HasPrefix(suffixParent, prefix) || suffixParent == "" && !isMethod)
			if !hidden {
				found = append(found, Completion{suffix, name})
				break
			}
		}
	}
	return found
}

// parent returns name without its last part, and whether that part names a method.
func parent(name string) (outer string, isMethod bool) {
	i := strings.LastIndexAny(name, "./")
	if i < 0 {
		return "", false
	}
	return name[:i], name[i] == '/'
}

// suffixes returns name and its suffixes, the longest first.
func suffixes(name string) []string {
	all := []string{name}
	for i, r := range name {
		if r == '.' || r == '/' {
			all = append(all, name[i+1:])
		}
	}
	return all
}
