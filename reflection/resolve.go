package reflection

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/suggest"
)

// Kind is the kind of symbol that a user wants.
type Kind int

// The kinds of symbols that are looked for by name.
const (
	Any     Kind = iota // whatever has a descriptor, except files
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

// NameError is the error of a name that no symbol has, or more than one.
type NameError struct {
	Kind Kind
	Name string // as it was given

	// Candidates are the symbols that a short name fits, Suggestions those of
	// similar names, best first. At most one of the two isn't empty.
	Candidates, Suggestions []string

	// Err is the error of the first source that couldn't be asked; nil if all were.
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

// Resolve returns the symbol with a name as users type it: the full name (of a method
// pkg.Service.Method or pkg.Service/Method), optionally after a dot or a slash, or as
// many of its last parts as tell it from the other symbols of that kind. The error is
// a [*NameError] if no symbol or several fit. If all sources fail, it is the error of
// the first.
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
		found.Suggestions = suggest.Near(full, names(sets, kind, false))
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

// Name returns the name of d as users type it: pkg.Service/Method for a method,
// pkg.Enum.VALUE for an enum's value (pkg.VALUE in protobuf), otherwise the full name.
func Name(d protoreflect.Descriptor) string {
	switch d.(type) {
	case protoreflect.MethodDescriptor:
		return string(d.Parent().FullName()) + "/" + string(d.Name())
	case protoreflect.EnumValueDescriptor:
		return string(d.Parent().FullName().Append(d.Name()))
	}
	return string(d.FullName())
}

// exact returns the symbol of a full name, nil if there is none. It looks for a method
// in its service, as some servers can't find methods.
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

// matches returns the symbols whose last parts are those of short. Fields, oneofs and
// enum values count only if no other symbol has that name.
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
// them. The error is that of the first source if all have failed.
func (c *Catalog) Symbols(ctx context.Context, kind Kind) ([]string, error) {
	sets, err := c.everything(ctx)
	if len(sets) == 0 && err != nil {
		return nil, err
	}
	all := names(sets, kind, true)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// names returns the names of all symbols of that kind in sets, with or without fields.
func names(sets []*Set, kind Kind, fields bool) []string {
	var all []string
	for _, set := range sets {
		set.each(kind, func(d protoreflect.Descriptor) {
			if _, isField := d.(protoreflect.FieldDescriptor); fields || !isField {
				all = append(all, Name(d))
			}
		})
	}
	return all
}
