package reflection

import (
	"context"
	"fmt"
	"strings"

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

// maxDescribed bounds the declarations in the file of a described symbol and in the files
// that it imports. The printer converts them all, whatever it prints, which takes about
// 700 bytes and a microsecond each.
const maxDescribed = 100_000

// Describe describes d. For a map entry or the type of a group, it describes the field.
// It is safe for concurrent use. If ctx ends first, the error is the cause. If d's file and
// its imports have more than 100,000 declarations, the error says so.
func Describe(ctx context.Context, d protoreflect.Descriptor) (*Description, error) {
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
	if countDeclarations(d.ParentFile(), make(map[string]bool)) > maxDescribed {
		return nil, fmt.Errorf("reflection: describe %s: its file and the imports have more than %d declarations", d.FullName(), maxDescribed)
	}
	text, err := interruptible(ctx, func() (string, error) { return source(described) })
	if err != nil {
		return nil, fmt.Errorf("reflection: describe %s: %w", d.FullName(), err)
	}
	name := string(d.FullName())
	if kind == "an enum value" {
		name = Name(d)
	}
	return &Description{name, kind, strings.TrimSuffix(text, "\n")}, nil
}

// countDeclarations returns the number of declarations in a file and its imports, without those
// in files that counted has, up to maxDescribed and a few more.
func countDeclarations(fd protoreflect.FileDescriptor, counted map[string]bool) int {
	if counted[fd.Path()] {
		return 0
	}
	counted[fd.Path()] = true
	n := 1 + fd.Extensions().Len() + inEnums(fd.Enums()) + inMessages(fd.Messages())
	for i := range fd.Services().Len() {
		n += 1 + fd.Services().Get(i).Methods().Len()
	}
	for i := 0; i < fd.Imports().Len() && n <= maxDescribed; i++ {
		n += countDeclarations(fd.Imports().Get(i).FileDescriptor, counted)
	}
	return n
}

func inMessages(list protoreflect.MessageDescriptors) (n int) {
	for i := range list.Len() {
		md := list.Get(i)
		n += 1 + md.Fields().Len() + md.Oneofs().Len() + md.Extensions().Len() + inEnums(md.Enums()) + inMessages(md.Messages())
	}
	return n
}

func inEnums(list protoreflect.EnumDescriptors) (n int) {
	for i := range list.Len() {
		n += 1 + list.Get(i).Values().Len()
	}
	return n
}

// source returns d as .proto source.
func source(d protoreflect.Descriptor) (string, error) {
	wrapped, err := wrapIncomplete(d)
	if err != nil {
		return "", err
	}
	// The same settings as in grpcurl.GetDescriptorText, which isn't safe for
	// concurrent use: it shares one Printer, and a Printer writes to its own fields.
	printer := protoprint.Printer{
		Compact:                  true,
		OmitComments:             protoprint.CommentsNonDoc,
		SortElements:             true,
		ForceFullyQualifiedNames: true,
	}
	return printer.PrintProtoToString(wrapped)
}

// interruptible calls f, which doesn't know ctx. If ctx ends first, it returns the cause,
// and f continues until it returns. A panic of f is an error: grpcurl's packages panic on
// some malformed descriptors.
func interruptible(ctx context.Context, f func() (string, error)) (string, error) {
	done := make(chan struct{})
	var result string
	var failure error
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				failure = fmt.Errorf("%v", r)
			}
		}()
		result, failure = f()
	}()
	select {
	case <-done:
		return result, failure
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
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

// wrap converts d to grpcurl's type. desc may panic on a peer's malformed descriptors.
func wrap(d protoreflect.Descriptor) (_ desc.Descriptor, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return desc.WrapDescriptor(d)
}
