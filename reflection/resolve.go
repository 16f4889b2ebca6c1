package reflection

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/xrash/smetrics"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Kind is what a name that a user types is meant to name.
type Kind int

// The kinds of symbols that are looked for by name.
const (
	Any     Kind = iota // whatever has a descriptor, but files
	Service             // a service
	Method              // a method
)

// String returns "symbol", "service" or "method".
func (k Kind) String() string {
	return [...]string{"symbol", "service", "method"}[k]
}

func (k Kind) is(d protoreflect.Descriptor) bool {
	switch d.(type) {
	case protoreflect.ServiceDescriptor:
		return k != Method
	case protoreflect.MethodDescriptor:
		return k != Service
	default:
		return k == Any
	}
}

// NameError is a name that names nothing, or more than one thing.
type NameError struct {
	Kind Kind
	Name string // as it was given

	// Candidates are what a short name may mean, Suggestions what is spelt
	// like it, the best first. At most one of the two isn't empty.
	Candidates, Suggestions []string

	// Err is why a source couldn't be asked; nil if all were.
	Err error
}

func (e *NameError) Error() string {
	if len(e.Candidates) > 0 {
		return fmt.Sprintf("%s %q is ambiguous", e.Kind, e.Name)
	}
	s := fmt.Sprintf("unknown %s %q", e.Kind, e.Name)
	if e.Err != nil {
		s += fmt.Sprintf(" (not all could be asked: %v)", e.Err)
	}
	return s
}

func (e *NameError) Unwrap() error { return e.Err }

// Resolve returns the symbol that a user means: by its full name (a method's as
// pkg.Service.Method or pkg.Service/Method), maybe with a dot or a slash before it,
// or by as many of the last parts of it as are needed to tell it from others of
// that kind. The error is a [*NameError] if there is none; otherwise all sources
// have failed and it is that of the first.
func (c *Catalog) Resolve(ctx context.Context, kind Kind, name string) (*Symbol, error) {
	full := strings.ReplaceAll(strings.TrimLeft(name, "./"), "/", ".")
	if s := c.exact(ctx, kind, protoreflect.FullName(full)); s != nil {
		return s, nil
	}
	sets, err := c.everything(ctx)
	if len(sets) == 0 && err != nil {
		return nil, err
	}
	found := &NameError{Kind: kind, Name: name, Err: err}
	matches := c.matches(sets, kind, full)
	switch len(matches) {
	case 0:
		found.Suggestions = suggest(sets, kind, full)
		return nil, found
	case 1:
		return matches[0], nil
	}
	for _, s := range matches {
		found.Candidates = append(found.Candidates, Name(s.Descriptor))
	}
	slices.Sort(found.Candidates)
	return nil, found
}

// Name is how a user writes the name of d: of a method pkg.Service/Method, of an
// enum's value pkg.Enum.VALUE, which protobuf has as pkg.VALUE, and else its full name.
func Name(d protoreflect.Descriptor) string {
	switch d.(type) {
	case protoreflect.MethodDescriptor:
		return string(d.Parent().FullName()) + "/" + string(d.Name())
	case protoreflect.EnumValueDescriptor:
		return string(d.Parent().FullName().Append(d.Name()))
	}
	return string(d.FullName())
}

// exact returns the symbol of a full name, nil if there is none. Not every server
// knows methods by their names, but it knows services.
func (c *Catalog) exact(ctx context.Context, kind Kind, name protoreflect.FullName) *Symbol {
	if kind == Method {
		s, err := c.Find(ctx, name.Parent())
		if err != nil {
			return nil
		}
		if sd, ok := s.Descriptor.(protoreflect.ServiceDescriptor); ok {
			if md := sd.Methods().ByName(name.Name()); md != nil {
				return &Symbol{md, c, s.set}
			}
		}
		return nil
	}
	if s, err := c.Find(ctx, name); err == nil && kind.is(s.Descriptor) {
		return s
	}
	return nil
}

// matches returns the symbols whose names end in the parts of short. Fields and the
// like count only if nothing greater has that name.
func (c *Catalog) matches(sets []*Set, kind Kind, short string) []*Symbol {
	var great, small []*Symbol
	seen := make(map[protoreflect.FullName]bool)
	for _, set := range sets {
		set.each(kind, func(d protoreflect.Descriptor) {
			if seen[d.FullName()] || !endsIn(string(d.FullName()), short) && !endsIn(Name(d), short) {
				return
			}
			seen[d.FullName()] = true
			switch d.(type) {
			case protoreflect.FieldDescriptor, protoreflect.OneofDescriptor, protoreflect.EnumValueDescriptor:
				small = append(small, &Symbol{d, c, set})
			default:
				great = append(great, &Symbol{d, c, set})
			}
		})
	}
	if len(great) > 0 {
		return great
	}
	return small
}

// endsIn reports whether the last parts of a name are those of short.
func endsIn(name, short string) bool { return name == short || strings.HasSuffix(name, "."+short) }

// Symbols returns the names of all symbols of that kind, sorted, as [Name] writes
// them: for completion. The error is that of the first source if all have failed.
func (c *Catalog) Symbols(ctx context.Context, kind Kind) ([]string, error) {
	sets, err := c.everything(ctx)
	if len(sets) == 0 && err != nil {
		return nil, err
	}
	var names []string
	for _, set := range sets {
		set.each(kind, func(d protoreflect.Descriptor) { names = append(names, Name(d)) })
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// suggest returns the names that are spelt most like one, few of them.
func suggest(sets []*Set, kind Kind, name string) []string {
	const few = 3
	type near struct {
		name     string
		distance int
	}
	var all []near
	seen := make(map[string]bool)
	parts := strings.Count(name, ".") + 1
	for _, set := range sets {
		set.each(kind, func(d protoreflect.Descriptor) {
			full := Name(d)
			if _, small := d.(protoreflect.FieldDescriptor); small || seen[full] {
				return
			}
			seen[full] = true
			n := distance(lastParts(string(d.FullName()), parts), name)
			if n <= 1+len(name)/4 {
				all = append(all, near{full, n})
			}
		})
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name)) })
	var names []string
	for _, n := range all[:min(few, len(all))] {
		if n.distance <= all[0].distance+1 {
			names = append(names, n.name)
		}
	}
	return names
}

// distance is how many letters differ, whatever their case.
func distance(a, b string) int {
	return smetrics.WagnerFischer(strings.ToLower(short(a)), strings.ToLower(short(b)), 1, 1, 1)
}

// lastParts returns the last n parts of a name, or all if it has fewer.
func lastParts(name string, n int) string {
	parts := strings.Split(name, ".")
	return strings.Join(parts[max(0, len(parts)-n):], ".")
}
