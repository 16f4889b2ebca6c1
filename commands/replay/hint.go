package replay

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/usage"
)

// volatileType is the type whose values usually differ.
const volatileType protoreflect.FullName = "google.protobuf.Timestamp"

// hint finds values of --ignore.
type hint struct {
	places     map[string]*place // that differ, by their patterns
	incomplete bool
}

func (h *hint) add(r *Result) {
	if h.places == nil {
		h.places = map[string]*place{}
	}
	h.incomplete = h.incomplete || r.More
	for _, d := range r.Differences {
		h.places[d.place.pattern()] = d.place
	}
}

// values returns the shortest list of values that ignores all differences: the type of
// several fields if it is a volatile one, and otherwise paths. The paths that aren't in a
// response are the last ones, and the status is the very last.
func (h *hint) values() (values []string) {
	if h.incomplete {
		return nil
	}
	volatile := 0
	for _, p := range h.places {
		if p.typ == volatileType {
			volatile++
		}
	}
	for pattern, p := range h.places {
		switch {
		case p.typ == volatileType && volatile > 1:
		case !h.covers(pattern):
			values = append(values, pattern)
		}
	}
	if volatile > 1 {
		values = append(values, string(volatileType))
	}
	rank := func(pattern string) int {
		p := h.places[pattern]
		if p == nil || !p.special {
			return -1
		}
		first, _, _ := strings.Cut(pattern, ".")
		return slices.Index([]string{headerPath, trailerPath, responsesPath, statusPath}, first)
	}
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	return values
}

// covers reports whether another pattern, that of a message around it, is enough.
func (h *hint) covers(pattern string) bool {
	for i, c := range pattern {
		if c == '.' && h.places[pattern[:i]] != nil {
			return true
		}
	}
	return false
}

// Flags returns values as --ignore flags for a shell.
func Flags(values []string) string {
	var flags []string
	for _, value := range values {
		flags = append(flags, "--ignore "+usage.Quote(value))
	}
	return strings.Join(flags, " ")
}
