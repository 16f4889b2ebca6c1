package tracing

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// Selector selects recorded calls as --filter does. One goroutine may use it.
type Selector struct {
	follower follower // only its filter and its messages are used
	hide     bool     // the calls of gRPC's own services
}

// NewSelector returns a Selector for the values of --filter. catalog has the types of the
// messages. Errors are usage errors.
func NewSelector(values []string, catalog *reflection.Catalog) (*Selector, error) {
	f, err := parseFilter(values)
	if err != nil {
		return nil, err
	}
	ms := &messages{schema: newSchema(catalog), fields: f.any(func(t condition) bool { return t.fields })}
	return &Selector{follower{filter: f, messages: ms}, !f.any(func(t condition) bool { return t.method })}, nil
}

// Selects reports whether all terms of a filter are true for c. They are false for a call
// that was still open where they depend on its end. Without a filter for methods, calls of
// gRPC's own services aren't selected.
func (s *Selector) Selects(rc *recording.Call) bool {
	first := rc.Events[0]
	if s.hide && trace.IsInfrastructure(first.Method) {
		return false
	}
	c := &call{number: rc.Number, session: first.Session, method: first.Method, begun: first.Time}
	for _, event := range rc.Events {
		e := event.Event
		e.Encoding = "" // Data isn't compressed
		s.follower.update(c, &e, func() *text { return s.follower.messages.format(context.Background(), &e) })
		if c.verdict != undecided {
			break
		}
	}
	return c.verdict == shown
}

// MatchMethod returns a function that reports whether the path of a method matches a
// pattern, as the terms of --filter do.
func MatchMethod(pattern string) (func(path string) bool, error) {
	decide, err := methodTerm(pattern)
	if err != nil {
		return nil, err
	}
	return func(path string) bool { return decide(&call{method: path}) == shown }, nil
}

// Filter selects calls by the terms of one --filter. The zero value selects all. Its methods
// may be called from any goroutine.
type Filter struct{ filter filter }

// ParseFilter parses terms with white space between them. It returns the zero Filter if there
// are none.
func ParseFilter(text string) (*Filter, error) {
	var terms []condition
	for term := range strings.FieldsSeq(text) {
		t, err := parseTerm(term)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", term, err)
		}
		terms = append(terms, t)
	}
	if len(terms) == 0 {
		return &Filter{}, nil
	}
	return &Filter{filter{terms}}, nil
}

// Facts are the facts of a call that a Filter is about.
type Facts struct {
	Session  uint64
	Method   string        // "/pkg.Service/Method"
	Duration time.Duration // so far
	Largest  int64         // message, in bytes
	Ended    bool
	Code     codes.Code    // if Ended
	Messages iter.Seq[any] // as decoded JSON; only used if the filter has terms for fields
}

// Selects reports whether all terms are true for a call. They are false for an open call where
// they depend on its end.
func (f *Filter) Selects(facts *Facts) bool {
	c := &call{
		session: facts.Session, method: facts.Method, duration: facts.Duration, largest: facts.Largest,
		ended: facts.Ended, code: facts.Code,
	}
	if f.filter.any(func(t condition) bool { return t.fields }) {
		c.ended = false // so that the fields of later messages count
		for c.message = range facts.Messages {
			if v := f.filter.decide(c); v != undecided {
				return v == shown
			}
		}
	}
	c.message, c.ended = nil, facts.Ended
	return f.filter.decide(c) == shown
}
