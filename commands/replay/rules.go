package replay

import (
	"fmt"
	"path"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
)

// The first names of paths that aren't in a response.
const (
	statusPath    = "status"    // the status: status, status.message, status.details.…
	responsesPath = "responses" // the number of responses and their order
	headerPath    = "header"    // metadata: header.NAME
	trailerPath   = "trailer"
)

// Rules say which differences don't count.
type Rules struct{ ignore, unordered []rule }

// rule is a value of --ignore or --unordered.
type rule struct {
	isFor   func(method string) bool
	pattern string
}

// ParseRules parses the values of --ignore and --unordered. Errors are usage errors.
func ParseRules(ignore, unordered []string) (*Rules, error) {
	rs := &Rules{}
	for _, value := range ignore {
		r, err := parseRule(value)
		if err != nil {
			return nil, &usage.Error{Err: fmt.Errorf("--ignore %q: %w", value, err), Advice: "want a field such as key.secret or '*.secret', a type such as google.protobuf.Timestamp, or METHOD:FIELD"}
		}
		rs.ignore = append(rs.ignore, r)
	}
	for _, value := range unordered {
		r, err := parseRule(value)
		if err != nil {
			return nil, &usage.Error{Err: fmt.Errorf("--unordered %q: %w", value, err), Advice: "want a repeated field such as keys or METHOD:keys, or METHOD:responses for the responses of a stream"}
		}
		rs.unordered = append(rs.unordered, r)
	}
	return rs, nil
}

func parseRule(value string) (r rule, err error) {
	method, pattern, ok := strings.Cut(value, ":")
	r.isFor = func(string) bool { return true }
	if r.pattern = pattern; !ok {
		r.pattern = value
	} else if r.isFor, err = tracing.MatchMethod(method); err != nil {
		return r, fmt.Errorf("%q: %w", method, err)
	}
	if _, err := path.Match(r.pattern, ""); err != nil || r.pattern == "" || strings.Contains(r.pattern, "/") {
		return r, fmt.Errorf("%q isn't a path of fields", r.pattern)
	}
	return r, nil
}

// of returns the rules for a method.
func (rs *Rules) of(method string) *Rules {
	return &Rules{restrict(rs.ignore, method), restrict(rs.unordered, method)}
}

func restrict(rules []rule, method string) (own []rule) {
	for _, r := range rules {
		if r.isFor(method) {
			own = append(own, r)
		}
	}
	return own
}

// maxDepth is the number of levels with places of their own. Deeper fields have the place of
// the deepest.
const maxDepth = 64

// place is a field in the messages of a type, in whatever element of a list or map. It has
// the rules that apply to it.
type place struct {
	rules    *Rules
	path     string                // as in the .proto file: keys.create_time; "" for the whole response
	json     string                // as in JSON: keys.createTime
	typ      protoreflect.FullName // of its messages, or its enum
	special  bool                  // it isn't in a response: path begins with statusPath, …
	depth    int
	children map[string]*place

	ignored, unordered bool
}

func newPlace(rules *Rules, path, json string, typ protoreflect.FullName, special bool) *place {
	p := &place{rules: rules, path: path, json: json, typ: typ, special: special, children: map[string]*place{}}
	p.ignored, p.unordered = p.any(rules.ignore), p.any(rules.unordered)
	return p
}

// child returns the place of a field in the messages at p. key distinguishes the fields
// of different types.
func (p *place) child(key, name, json string, typ protoreflect.FullName) *place {
	if p.depth == maxDepth {
		return p
	}
	c := p.children[key]
	if c == nil {
		c = newPlace(p.rules, join(p.path, name), join(p.json, json), typ, p.special)
		c.depth = p.depth + 1
		p.children[key] = c
	}
	return c
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// field returns the place of a field.
func (p *place) field(fd protoreflect.FieldDescriptor) *place {
	of := fd
	if fd.IsMap() {
		of = fd.MapValue()
	}
	var typ protoreflect.FullName
	switch {
	case of.Message() != nil:
		typ = of.Message().FullName()
	case of.Enum() != nil:
		typ = of.Enum().FullName()
	}
	if fd.IsExtension() {
		name := "(" + string(fd.FullName()) + ")"
		return p.child(name, name, string(fd.Name()), typ) // as in Event.Redacted
	}
	return p.child(string(fd.FullName()), string(fd.Name()), fd.JSONName(), typ)
}

func (p *place) any(rules []rule) bool {
	for _, r := range rules {
		if r.matches(p) {
			return true
		}
	}
	return false
}

// matches reports whether the pattern is that of p's path, with names of either form, or of
// its type. "*.name" is also a field of the response itself. Paths that aren't in a response
// match only patterns with the same beginning, and types there none that begins with a
// wildcard, so that "*" and "s*" don't ignore statuses.
func (r rule) matches(p *place) bool {
	if p.special {
		first, _, _ := strings.Cut(p.path, ".")
		return !strings.ContainsAny(r.pattern[:1], `*?[`) && glob(r.pattern, string(p.typ)) ||
			strings.HasPrefix(r.pattern, first) && (glob(r.pattern, p.path) || glob(r.pattern, p.json))
	}
	return glob(r.pattern, string(p.typ)) ||
		glob(r.pattern, p.path) || glob(r.pattern, p.json) || glob(r.pattern, "."+p.path) || glob(r.pattern, "."+p.json)
}

// glob reports whether text, unless it is empty, matches pattern.
func glob(pattern, text string) bool {
	ok, _ := path.Match(pattern, text)
	return ok && text != "" && text != "."
}

// pattern returns the value of --ignore for p.
func (p *place) pattern() string {
	if p.path == "" {
		return escapeGlob(string(p.typ))
	}
	first, _, nested := strings.Cut(p.path, ".")
	isReserved := first == statusPath || first == responsesPath || first == headerPath || first == trailerPath
	if isReserved && !p.special && !nested {
		return "*." + escapeGlob(p.path) // not the status itself
	}
	return escapeGlob(p.path)
}

var globs = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

func escapeGlob(text string) string { return globs.Replace(text) }
