package reflection

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/suggest"
)

// Kind restricts a search by name to one kind of symbol.
type Kind int

// The kinds of symbols to search for.
const (
	Any     Kind = iota // any descriptor except files
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

// NameError is the error for an unknown or ambiguous name.
type NameError struct {
	Kind Kind
	Name string // as given

	// Candidates are the symbols that an ambiguous name matches. Suggestions are
	// symbols with names similar to an unknown one, best first.
	Candidates, Suggestions []string

	// Err is the error of the first source that failed, nil if none did.
	Err error

	// Problem is the reason why a source lacks descriptors, "" if none does. It
	// mentions the name if one of several does.
	Problem string
}

func (e *NameError) Error() string {
	if len(e.Candidates) > 0 {
		return fmt.Sprintf("%s %q is ambiguous", e.Kind, e.Name)
	}
	s := fmt.Sprintf("unknown %s %q", e.Kind, e.Name)
	if e.Err != nil {
		s += fmt.Sprintf(" (some sources failed: %v)", e.Err)
	}
	if e.Problem != "" {
		s += ": descriptors are missing: " + e.Problem
	}
	return s
}

func (e *NameError) Unwrap() error { return e.Err }

// Resolve returns the symbol with a name as typed by a user: the full name (for a method,
// pkg.Service.Method or pkg.Service/Method), optionally with a leading dot or slash, or
// enough of its last parts to identify the symbol among those of that kind. The error is
// a [*NameError] if no symbol matches or several do. If all sources fail, it is the error
// of the first.
func (c *Catalog) Resolve(ctx context.Context, kind Kind, name string) (*Symbol, error) {
	full := strings.ReplaceAll(strings.TrimLeft(name, "./"), "/", ".")
	if s := c.exact(ctx, kind, protoreflect.FullName(full)); s != nil {
		return s, nil
	}
	sets, err := c.allSets(ctx)
	if len(sets) == 0 && err != nil {
		return nil, err
	}
	nameErr := &NameError{Kind: kind, Name: name, Err: err}
	matches := c.matches(sets, kind, full)
	switch len(matches) {
	case 0:
		nameErr.Suggestions = suggest.Near(full, names(sets, kind, false))
		nameErr.Problem = problem(sets, full)
		return nil, nameErr
	case 1:
		return matches[0], nil
	}
	for _, s := range matches {
		nameErr.Candidates = append(nameErr.Candidates, Name(s.Descriptor))
	}
	slices.Sort(nameErr.Candidates)
	return nil, nameErr
}

// problem returns the first problem of sets that mentions the last parts of a name, as
// many as possible; "" if there are no problems.
func problem(sets []*Set, name string) string {
	for _, part := range append(suffixes(name), "") {
		for _, set := range sets {
			if p := set.problemWith(part); p != "" {
				return p
			}
		}
	}
	return ""
}

// Name returns the name of d as users type it: pkg.Service/Method for a method,
// pkg.Enum.VALUE for an enum value (protobuf's full name is pkg.VALUE), otherwise the
// full name.
func Name(d protoreflect.Descriptor) string {
	switch d.(type) {
	case protoreflect.MethodDescriptor:
		return string(d.Parent().FullName()) + "/" + string(d.Name())
	case protoreflect.EnumValueDescriptor:
		return string(d.Parent().FullName().Append(d.Name()))
	}
	return string(d.FullName())
}

// exact returns the symbol with a full name, nil if there is none. It searches for the
// service of a method, because some servers can't find methods.
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

// matches returns the symbols whose names end in short. It returns fields, oneofs and
// enum values only if no other symbol matches.
func (c *Catalog) matches(sets []*Set, kind Kind, short string) []*Symbol {
	var symbols, members []*Symbol
	seen := make(map[protoreflect.FullName]bool)
	for _, set := range sets {
		set.each(kind, func(d protoreflect.Descriptor) {
			if seen[d.FullName()] || !hasSuffix(string(d.FullName()), short) && !hasSuffix(Name(d), short) {
				return
			}
			seen[d.FullName()] = true
			switch d.(type) {
			case protoreflect.FieldDescriptor, protoreflect.OneofDescriptor, protoreflect.EnumValueDescriptor:
				members = append(members, &Symbol{d, c, set})
			default:
				symbols = append(symbols, &Symbol{d, c, set})
			}
		})
	}
	if len(symbols) > 0 {
		return symbols
	}
	return members
}

// hasSuffix reports whether short is name or its last parts.
func hasSuffix(name, short string) bool { return name == short || strings.HasSuffix(name, "."+short) }

// Symbols returns the sorted names of all symbols of that kind, in the form of [Name].
// If all sources fail, it returns the error of the first.
func (c *Catalog) Symbols(ctx context.Context, kind Kind) ([]string, error) {
	sets, err := c.allSets(ctx)
	if len(sets) == 0 && err != nil {
		return nil, err
	}
	all := names(sets, kind, true)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// names returns the names of all symbols of that kind in sets. It omits fields unless
// fields is true.
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
