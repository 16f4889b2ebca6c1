package tracing

import (
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
		s.follower.update(c, &e, func() *text { return s.follower.messages.format(&e) })
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
