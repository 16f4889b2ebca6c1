package reflection

import (
	"cmp"
	"slices"
	"strings"
)

// Completion is how a name that is being typed may go on.
type Completion struct {
	Text string // as the user would type it; it may be short
	Name string // the full name that it stands for
}

// Complete returns what a name that is being typed may become: one of names, which are
// of the form that [Catalog.Symbols] returns, or the end of one, as short as is needed
// to tell it from the others and as long as what is typed. What is within another
// symbol, such as a field, comes behind the name of that. The result is sorted.
func Complete(typed string, names []string) []Completion {
	begin := strings.TrimLeft(typed, "./")
	found := complete(begin, names, func(name string) string { return name })
	if len(found) == 0 { // maybe pkg.Service.Method
		found = complete(begin, names, func(name string) string { return strings.ReplaceAll(name, "/", ".") })
	}
	for i := range found {
		found[i].Text = typed[:len(typed)-len(begin)] + found[i].Text
	}
	slices.SortFunc(found, func(a, b Completion) int {
		return cmp.Or(strings.Compare(a.Text, b.Text), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(found)
}

func complete(begin string, names []string, write func(string) string) []Completion {
	known, shared := map[string]bool{}, map[string]int{}
	for _, name := range names {
		known[write(name)] = true
		for _, end := range ends(write(name)) {
			shared[end]++
		}
	}
	var found []Completion
	for _, name := range names {
		all := ends(write(name))
		if begin == "" {
			all = all[:1] // there is no telling which end is meant
		}
		outer, isMethod := cutLast(write(name))
		for _, end := range slices.Backward(all) {
			within, _ := cutLast(end)
			hidden := known[outer] && (within != "" && strings.HasPrefix(within, begin) || within == "" && !isMethod)
			if strings.HasPrefix(end, begin) && shared[end] == 1 && !hidden {
				found = append(found, Completion{end, name})
				break
			}
		}
	}
	return found
}

// cutLast returns a name without its last part, and whether that is a method's.
func cutLast(name string) (outer string, isMethod bool) {
	i := strings.LastIndexAny(name, "./")
	if i < 0 {
		return "", false
	}
	return name[:i], name[i] == '/'
}

// ends returns a name and its ends, the longest first.
func ends(name string) []string {
	all := []string{name}
	for i, r := range name {
		if r == '.' || r == '/' {
			all = append(all, name[i+1:])
		}
	}
	return all
}
