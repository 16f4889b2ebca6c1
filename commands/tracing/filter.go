package tracing

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/usage"
)

// verdict is the result of a filter for a call so far.
type verdict int

const (
	undecided verdict = iota
	shown
	hidden
)

// filter chooses calls: those that fulfil all terms of any of its elements. The empty
// filter chooses all.
type filter [][]condition

// condition is a term. It is decided as soon as the call can't change it any more.
type condition struct {
	negated bool
	decide  func(c *call) verdict

	method bool // it is about the method, and not negated
	fields bool // it needs the fields of messages
}

// parseFilter parses the values of --filter.
func parseFilter(values []string) (filter, error) {
	var f filter
	for _, value := range values {
		var terms []condition
		for text := range strings.FieldsSeq(value) {
			t, err := parseTerm(text)
			if err != nil {
				return nil, &usage.Error{
					Err:    fmt.Errorf("--filter %q: %q: %w", value, text, err),
					Advice: "terms are Hub/*, !Hub/Watch*, status!=OK, >500ms, size>1MiB, $.name=z* and s1",
				}
			}
			terms = append(terms, t)
		}
		if len(terms) == 0 {
			return nil, usage.Errorf("--filter %q: no terms", value)
		}
		f = append(f, terms)
	}
	return f, nil
}

func parseTerm(text string) (t condition, err error) {
	rest, negated := strings.CutPrefix(text, "!")
	t.negated = negated
	switch {
	case rest == "":
		return t, errors.New("no term")
	case rest[0] == '>' || rest[0] == '<':
		t.decide, err = durationTerm(rest)
	case strings.HasPrefix(rest, "status=") || strings.HasPrefix(rest, "status!="):
		t.decide, err = statusTerm(strings.TrimPrefix(rest, "status"))
	case strings.HasPrefix(rest, "size>") || strings.HasPrefix(rest, "size<"):
		t.decide, err = sizeTerm(rest[len("size")], rest[len("size>"):])
	case strings.HasPrefix(rest, "$."):
		t.fields = true
		t.decide, err = fieldTerm(rest)
	case isSession(rest):
		number, _ := strconv.ParseUint(rest[1:], 10, 64)
		t.decide = func(c *call) verdict { return decided(c.session == number) }
	default:
		t.method = !negated
		t.decide, err = methodTerm(rest)
	}
	return t, err
}

func isSession(s string) bool {
	number, err := strconv.ParseUint(s[1:], 10, 64)
	return s[0] == 's' && err == nil && number > 0
}

func decided(ok bool) verdict {
	if ok {
		return shown
	}
	return hidden
}

// methodTerm matches pkg.Service/Method or pkg.Service.Method, or the end of it:
// Service/Method, Service or Method, in any case.
func methodTerm(pattern string) (func(*call) verdict, error) {
	pattern = strings.ToLower(strings.TrimPrefix(pattern, "/"))
	other := func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_-./*?[]^\\", c) }
	if _, err := path.Match(pattern, ""); err != nil || strings.ContainsFunc(pattern, other) {
		return nil, errors.New("not a pattern such as Hub/* or *Keys, nor another term")
	}
	return func(c *call) verdict {
		full := strings.ToLower(strings.TrimPrefix(c.method, "/"))
		service, method, _ := strings.Cut(full, "/")
		short := service[strings.LastIndexByte(service, '.')+1:]
		for _, name := range []string{full, short + "/" + method, service, short, method, service + "." + method, short + "." + method} {
			if ok, _ := path.Match(pattern, name); ok {
				return shown
			}
		}
		return hidden
	}, nil
}

// statusTerm is decided at the end of the call.
func statusTerm(condition string) (func(*call) verdict, error) {
	name, equal := strings.CutPrefix(condition, "=")
	name = strings.TrimPrefix(name, "!=")
	want, err := parseCode(name)
	return func(c *call) verdict {
		if !c.ended {
			return undecided
		}
		return decided((c.code == want) == equal)
	}, err
}

// parseCode returns the code with a name such as NOT_FOUND or NotFound, or a number.
func parseCode(name string) (codes.Code, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return codes.Code(n), nil
	}
	letters := strings.ReplaceAll(name, "_", "")
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		if strings.EqualFold(letters, c.String()) || strings.EqualFold(name, recording.StatusName(c)) {
			return c, nil
		}
	}
	return 0, errors.New("want a status such as OK, NOT_FOUND or 5")
}

// durationTerm is decided when the call ends, or has taken longer.
func durationTerm(text string) (func(*call) verdict, error) {
	limit, err := time.ParseDuration(text[1:])
	if err != nil || limit < 0 {
		return nil, errors.New("want a duration such as >500ms")
	}
	longer := text[0] == '>'
	return func(c *call) verdict {
		switch {
		case c.duration > limit:
			return decided(longer)
		case c.ended:
			return decided(!longer)
		}
		return undecided
	}, nil
}

// sizeTerm is about the largest message.
func sizeTerm(relation byte, text string) (func(*call) verdict, error) {
	limit, err := usage.ParseSize(text)
	if err != nil {
		return nil, errors.New("want a size such as size>1MiB")
	}
	larger := relation == '>'
	return func(c *call) verdict {
		switch {
		case c.largest > limit:
			return decided(larger)
		case c.ended:
			return decided(!larger)
		}
		return undecided
	}, nil
}

// fieldTerm is about a field of any message of the call: $.name=z*, $.key.name=z*, or
// $.name for any value but the default.
func fieldTerm(text string) (func(*call) verdict, error) {
	name, pattern, hasPattern := strings.Cut(strings.TrimPrefix(text, "$."), "=")
	if _, err := path.Match(pattern, ""); err != nil || name == "" {
		return nil, errors.New("want a field and a pattern such as $.name=z*")
	}
	fields := strings.Split(name, ".")
	return func(c *call) verdict {
		switch {
		case c.matched[text] || matchField(c.message, fields, pattern, hasPattern):
			if c.matched == nil {
				c.matched = map[string]bool{}
			}
			c.matched[text] = true
			return shown
		case c.ended:
			return hidden
		}
		return undecided
	}, nil
}

// matchField reports whether a field of a decoded JSON value is there, or, if hasPattern,
// whether its value matches. Each element of an array counts. The names are those of JSON
// or of the .proto file.
func matchField(v any, fields []string, pattern string, hasPattern bool) bool {
	if len(fields) == 0 && !hasPattern {
		return v != nil
	}
	switch v := v.(type) {
	case nil:
		return false
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return matchField(element, fields, pattern, hasPattern) })
	case map[string]any:
		if len(fields) == 0 {
			return false
		}
		field, ok := v[fields[0]]
		if !ok {
			field = v[jsonName(fields[0])]
		}
		return matchField(field, fields[1:], pattern, hasPattern)
	}
	ok, _ := path.Match(pattern, fmt.Sprint(v))
	return ok && len(fields) == 0
}

// jsonName returns the JSON name of a field: apiKey for api_key.
func jsonName(name string) string {
	parts := strings.Split(name, "_")
	for i, part := range parts[1:] {
		if part != "" {
			parts[i+1] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, "")
}

// decide returns the verdict for c.
func (f filter) decide(c *call) verdict {
	if len(f) == 0 {
		return shown
	}
	result := hidden
	for _, terms := range f {
		switch all(terms, c) {
		case shown:
			return shown
		case undecided:
			result = undecided
		case hidden:
		}
	}
	return result
}

func all(terms []condition, c *call) verdict {
	result := shown
	for _, t := range terms {
		v := t.decide(c)
		if t.negated && v != undecided {
			v = decided(v == hidden)
		}
		switch v {
		case hidden:
			return hidden
		case undecided:
			result = undecided
		case shown:
		}
	}
	return result
}

// any reports whether a term has the property.
func (f filter) any(has func(condition) bool) bool {
	for _, terms := range f {
		if slices.ContainsFunc(terms, has) {
			return true
		}
	}
	return false
}
