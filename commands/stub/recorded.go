package stub

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/tunnel/trace"
)

// recorded has the recorded calls of a method.
type recorded struct {
	calls []*recordedCall
	first map[request][]*recordedCall // by their first request
	masks []*mask                     // of all requests

	mu sync.Mutex // guards recordedCall.used
}

// FromRecording returns the Stub that answers as recorded. files have the descriptors; the
// first with a method has its types. Without delays, it doesn't wait between messages. The
// Stub keeps the calls of rec in memory.
//
// leftOut counts the calls that can't answer. The error is a *[SchemaError], or says that
// no call can.
func FromRecording(rec *recording.Recording, delays bool, files ...*protoregistry.Files) (s *Stub, leftOut LeftOut, err error) {
	s = &Stub{files: files, methods: make(map[string]*method), recorded: true, closed: make(chan struct{})}
	leftOut = make(LeftOut)
	unknown := make(map[string]bool)
	for _, c := range rec.Calls {
		if trace.IsInfrastructure(c.Method()) {
			continue // servers have these services besides the Stub
		}
		reason := problem(c)
		m := s.methods[c.Method()]
		if reason == "" && m == nil {
			m = s.newMethod(c.Method())
			if m == nil {
				unknown[c.Method()] = true
				continue
			}
		}
		if reason == "" {
			reason = m.record(c, delays)
		}
		if reason != "" {
			leftOut[reason]++
		}
	}
	maps.DeleteFunc(s.methods, func(_ string, m *method) bool { return len(m.recorded.calls) == 0 })
	switch {
	case len(unknown) > 0:
		return nil, leftOut, &SchemaError{slices.Sorted(maps.Keys(unknown))}
	case len(leftOut) > 0 && len(s.methods) == 0:
		return nil, leftOut, fmt.Errorf("the recording has no call that can answer: %s", leftOut)
	case len(s.methods) == 0:
		return nil, leftOut, fmt.Errorf("the recording has no calls")
	}
	return s, leftOut, nil
}

// newMethod returns a method without calls, nil if it isn't in the descriptors.
func (s *Stub) newMethod(name string) *method {
	service, methodName, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	sd, _ := s.find(service).(protoreflect.ServiceDescriptor)
	if sd == nil {
		return nil
	}
	desc := sd.Methods().ByName(protoreflect.Name(methodName))
	if desc == nil || desc.Input().IsPlaceholder() {
		return nil
	}
	m := &method{name: name, desc: desc, recorded: &recorded{first: make(map[request][]*recordedCall)}}
	s.methods[name] = m
	return m
}

// LeftOut counts the calls of a recording that can't answer, by reason.
type LeftOut map[string]int

// Calls returns their number.
func (l LeftOut) Calls() (n int) {
	for _, count := range l {
		n += count
	}
	return n
}

// String returns "2: events are missing; 1: it was cut", the most frequent reason first.
func (l LeftOut) String() string {
	reasons := slices.SortedFunc(maps.Keys(l), func(a, b string) int {
		return cmp.Or(cmp.Compare(l[b], l[a]), strings.Compare(a, b))
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d: %s", l[reason], reason)
	}
	return strings.Join(reasons, "; ")
}

// A SchemaError says that the descriptors lack methods of a recording.
type SchemaError struct {
	Methods []string // their paths, sorted, at least one
}

func (e *SchemaError) Error() string {
	text := "no descriptors for the recorded method " + yamlfile.Quote(e.Methods[0])
	switch more := len(e.Methods) - 1; more {
	case 0:
		return text
	case 1:
		return text + " and another one"
	default:
		return fmt.Sprintf("%s and %d others", text, more)
	}
}
