package reflection

import (
	"fmt"
	"strings"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc"            //nolint:staticcheck // grpcurl's types
	"github.com/jhump/protoreflect/desc/protoprint" //nolint:staticcheck // grpcurl's printer
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Description is what there is to say about a symbol, in grpcurl's words.
type Description struct {
	Name string // its full name; of an enum's value, pkg.Enum.VALUE
	Kind string // "a message", "a method" and the like
	Text string // proto source that is equivalent to the one that defines it
}

// Describe describes d. The entry of a map and the type of a group are described
// as their fields. It may be called from several goroutines at once.
func Describe(d protoreflect.Descriptor) (*Description, error) {
	described := d
	var kind string
	switch d := d.(type) {
	case protoreflect.MessageDescriptor:
		kind = "a message"
		if field := fieldOfType(d); field != nil {
			described, kind = field, "the type of a group field"
			if d.IsMapEntry() {
				kind = "the entry type for a map field"
			}
		}
	case protoreflect.FieldDescriptor:
		switch {
		case isGroup(d):
			kind = "a group field"
		case d.IsExtension():
			kind = "an extension"
		default:
			kind = "a field"
		}
	case protoreflect.OneofDescriptor:
		kind = "a one-of"
	case protoreflect.EnumDescriptor:
		kind = "an enum"
	case protoreflect.EnumValueDescriptor:
		kind = "an enum value"
	case protoreflect.ServiceDescriptor:
		kind = "a service"
	case protoreflect.MethodDescriptor:
		kind = "a method"
	default:
		return nil, fmt.Errorf("reflection: %s is of no known kind", d.FullName())
	}
	wrapped, err := wrap(described)
	if err != nil {
		return nil, fmt.Errorf("reflection: describe %s: %w", d.FullName(), err)
	}
	// A Printer writes to its own fields, and the one in grpcurl.GetDescriptorText
	// is one for all goroutines. This is one of the same settings.
	printer := protoprint.Printer{
		Compact:                  true,
		OmitComments:             protoprint.CommentsNonDoc,
		SortElements:             true,
		ForceFullyQualifiedNames: true,
	}
	text, err := printer.PrintProtoToString(wrapped)
	if err != nil {
		return nil, fmt.Errorf("reflection: describe %s: %w", d.FullName(), err)
	}
	name := string(d.FullName())
	if kind == "an enum value" {
		name = Name(d)
	}
	return &Description{name, kind, strings.TrimSuffix(text, "\n")}, nil
}

// fieldOfType returns the field whose declaration is also that of md: a map or a
// group. nil for other messages.
func fieldOfType(md protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	parent, ok := md.Parent().(protoreflect.MessageDescriptor)
	if !ok {
		return nil
	}
	for i := range parent.Fields().Len() {
		if f := parent.Fields().Get(i); f.Message() == md && (f.IsMap() || isGroup(f)) {
			return f
		}
	}
	return nil
}

// isGroup reports whether f was written as a group, not a message that is
// delimited on the wire, which editions allow for any.
func isGroup(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.GroupKind && f.ParentFile().Syntax() == protoreflect.Proto2
}

// Template writes a message of type md with one element in everything that is
// repeated, in grpcurl's format "json" or "text".
func Template(md protoreflect.MessageDescriptor, format string) (string, error) {
	wrapped, err := desc.WrapMessage(md)
	if err != nil {
		return "", fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	source, err := grpcurl.DescriptorSourceFromFileDescriptors(wrapped.GetFile())
	if err != nil {
		return "", fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	_, write, err := grpcurl.RequestParserAndFormatter(grpcurl.Format(format), source, nil, grpcurl.FormatOptions{EmitJSONDefaultFields: true})
	if err != nil {
		return "", fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	text, err := write(grpcurl.MakeTemplate(wrapped))
	if err != nil {
		return "", fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	return text, nil
}

// wrap makes d what grpcurl takes. What comes from a peer may be what desc isn't
// made for.
func wrap(d protoreflect.Descriptor) (_ desc.Descriptor, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return desc.WrapDescriptor(d)
}
