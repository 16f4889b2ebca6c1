package call

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Field is a field of a message in JSON.
type Field struct {
	Name  string // JSON name
	Type  string // "string", "repeated int32", "enum demo.Color", "map of string to message demo.Key"
	Field protoreflect.FieldDescriptor
}

// Fields returns the fields of a message, in the order of their declaration. With a path
// of JSON or proto names, it returns those of a nested message, list element or map
// value, nil if there is none.
func Fields(md protoreflect.MessageDescriptor, path ...string) []Field {
	for _, name := range path {
		f := md.Fields().ByJSONName(name)
		if f == nil {
			f = md.Fields().ByTextName(name)
		}
		if f != nil && f.IsMap() {
			f = f.MapValue()
		}
		if f == nil || f.Message() == nil {
			return nil
		}
		md = f.Message()
	}
	var fields []Field
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		fields = append(fields, Field{f.JSONName(), typeName(f), f})
	}
	return fields
}

// typeName describes the type of a field.
func typeName(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.IsMap():
		return "map of " + typeName(f.MapKey()) + " to " + typeName(f.MapValue())
	case f.Message() != nil:
		name = "message " + string(f.Message().FullName())
	case f.Enum() != nil:
		name = "enum " + string(f.Enum().FullName())
	}
	if f.IsList() {
		return "repeated " + name
	}
	return name
}
