package reflection

import (
	"fmt"
	"strings"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc"            //nolint:staticcheck // grpcurl's types
	"github.com/jhump/protoreflect/desc/protoprint" //nolint:staticcheck // grpcurl's printer
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Description describes a symbol in grpcurl's words.
type Description struct {
	Name string // full name; for an enum value, pkg.Enum.VALUE
	Kind string // such as "a message" or "a method"
	Text string // equivalent .proto source
}

// Describe describes d. For a map entry or the type of a group, it describes the field.
// It is safe for concurrent use.
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
		return nil, fmt.Errorf("reflection: %s has an unsupported kind of descriptor", d.FullName())
	}
	wrapped, err := wrap(described)
	if err != nil {
		return nil, fmt.Errorf("reflection: describe %s: %w", d.FullName(), err)
	}
	// The same settings as in grpcurl.GetDescriptorText, which isn't safe for
	// concurrent use: it shares one Printer, and a Printer writes to its own fields.
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

// fieldOfType returns the map or group field whose declaration also declares md, nil for
// other messages.
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

// isGroup reports whether f is declared as a group. Editions also allow the group
// encoding for ordinary message fields.
func isGroup(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.GroupKind && f.ParentFile().Syntax() == protoreflect.Proto2
}

// Template returns an example message of type md, with one element in each repeated
// field, in grpcurl's format "json" or "text".
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

// wrap converts d to grpcurl's type. desc may panic on a peer's malformed descriptors.
func wrap(d protoreflect.Descriptor) (_ desc.Descriptor, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return desc.WrapDescriptor(d)
}
