package stub

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/yamlfile"
)

const (
	// maxCompared is how many bytes of recorded requests are compared to find the
	// nearest one.
	maxCompared = 16 << 20

	// maxShown is how many differences are named.
	maxShown = 3
)

// miss returns the error for a request after n others that isn't recorded. calls have the
// others.
func (m *method) miss(calls []*recordedCall, n int, got *dynamicpb.Message) error {
	text := fmt.Sprintf("stub: no recorded call of %s has this request", m.name)
	if m.desc.IsStreamingClient() {
		text = fmt.Sprintf("stub: no recorded call of %s has this request %d after the others", m.name, n+1)
	}
	var nearest *recordedCall
	var fewest *differences
	seen, compared := make(map[request]bool), 0
	for _, c := range calls {
		if compared > maxCompared || len(c.requests) <= n || seen[c.requests[n]] {
			continue
		}
		seen[c.requests[n]] = true
		compared += len(c.requests[n].encoded) + 100
		if d := m.compare(c.requests[n], got); fewest == nil || d.count < fewest.count {
			nearest, fewest = c, d
		}
	}
	if nearest == nil {
		return status.Errorf(codes.Unimplemented, "%s; call #%d has %d requests", text, calls[0].number, len(calls[0].requests))
	}
	return status.Errorf(codes.Unimplemented, "%s; the nearest, call #%d, differs in %s", text, nearest.number, fewest)
}

// missHalfClose returns the error for a client that has ended its requests after n. c has
// more.
func (m *method) missHalfClose(c *recordedCall, n int) error {
	return status.Errorf(codes.Unimplemented, "stub: no recorded call of %s ends after request %d; call #%d has %d requests",
		m.name, n, c.number, len(c.requests))
}

// compare returns the differences between a recorded request and got.
func (m *method) compare(recorded request, got *dynamicpb.Message) *differences {
	want := dynamicpb.NewMessage(m.desc.Input())
	decode([]byte(recorded.encoded), want)
	d := &differences{}
	d.messages("", want, recorded.mask.without(got))
	return d
}

// differences are the fields in which two messages differ.
type differences struct {
	count int
	shown []string
}

// String returns `name ("k1", not "k2"), tick and 2 more fields`.
func (d *differences) String() string {
	if d.count == 0 {
		return "its encoding" // such as -0 instead of 0
	}
	text := strings.Join(d.shown, ", ")
	if more := d.count - len(d.shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (d *differences) add(path, values string) {
	d.count++
	if len(d.shown) < maxShown {
		d.shown = append(d.shown, yamlfile.Truncate(path)+values)
	}
}

// messages adds the differences between two messages of the same type. prefix is the path of
// their fields.
func (d *differences) messages(prefix string, want, got protoreflect.Message) {
	fields := want.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		path := prefix + fd.TextName()
		switch hasWant, hasGot := want.Has(fd), got.Has(fd); {
		case !hasWant && !hasGot:
		case hasWant == hasGot || !fd.HasPresence():
			d.field(path, fd, want.Get(fd), got.Get(fd))
		case hasWant:
			d.add(path, " (set, not unset)")
		default:
			d.add(path, " (unset, not set)")
		}
	}
	if string(want.GetUnknown()) != string(got.GetUnknown()) {
		d.add(prefix+"unknown fields", "")
	}
}

// field adds the differences between two values of a field.
func (d *differences) field(path string, fd protoreflect.FieldDescriptor, want, got protoreflect.Value) {
	switch {
	case want.Equal(got):
	case fd.IsMap():
		d.add(path, "")
	case fd.IsList() && want.List().Len() != got.List().Len():
		d.add(path, fmt.Sprintf(" (%d elements, not %d)", want.List().Len(), got.List().Len()))
	case fd.IsList():
		for i := range want.List().Len() {
			d.value(fmt.Sprintf("%s[%d]", path, i), fd, want.List().Get(i), got.List().Get(i))
		}
	default:
		d.value(path, fd, want, got)
	}
}

// value adds the differences between two single values.
func (d *differences) value(path string, fd protoreflect.FieldDescriptor, want, got protoreflect.Value) {
	options, _ := fd.Options().(*descriptorpb.FieldOptions)
	switch {
	case want.Equal(got):
	case fd.Message() != nil:
		d.messages(path+".", want.Message(), got.Message())
	case options.GetDebugRedact():
		d.add(path, "")
	default:
		d.add(path, fmt.Sprintf(" (%s, not %s)", formatValue(fd, want), formatValue(fd, got)))
	}
}

// formatValue returns the value of a field that isn't a message.
func formatValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return yamlfile.Quote(v.String())
	case protoreflect.BytesKind:
		return fmt.Sprintf("%d bytes", len(v.Bytes()))
	case protoreflect.EnumKind:
		if value := fd.Enum().Values().ByNumber(v.Enum()); value != nil {
			return string(value.Name())
		}
	}
	return v.String()
}
