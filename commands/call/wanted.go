package call

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// wanted describes a value in JSON.
type wanted struct{ name, example string }

func (w wanted) String() string { return w.name + " such as " + w.example }

// fieldWanted describes the value of a field, or one element of it.
func fieldWanted(fd protoreflect.FieldDescriptor, isElement bool) wanted {
	switch {
	case fd.IsMap():
		value := fieldWanted(fd.MapValue(), true)
		key := scalarWanted(fd.MapKey())
		return wanted{"a map", `{"` + strings.Trim(key.example, `"`) + `": ` + value.example + "}"}
	case fd.IsList() && !isElement:
		return wanted{"a list", "[" + fieldWanted(fd, true).example + "]"}
	case fd.Message() != nil:
		return messageWanted(fd.Message())
	}
	return scalarWanted(fd)
}

func scalarWanted(fd protoreflect.FieldDescriptor) wanted {
	name := fd.Kind().String()
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return wanted{"a bool", "true"}
	case protoreflect.StringKind:
		return wanted{"a string", `"text"`}
	case protoreflect.BytesKind:
		return wanted{"bytes in base64", `"AAE="`}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return wanted{"a " + name, "0.5"}
	case protoreflect.EnumKind:
		example := "0"
		if values := fd.Enum().Values(); values.Len() > 0 {
			example = strconv.Quote(string(values.Get(0).Name()))
		}
		return wanted{"a " + string(fd.Enum().FullName()), example}
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return wanted{"an " + name, "42"}
	}
	return wanted{"a " + name, "42"}
}

// messageWanted describes a message.
func messageWanted(md protoreflect.MessageDescriptor) wanted {
	if w, ok := wellKnownWanted[md.FullName()]; ok {
		return w
	}
	if md.FullName().Parent() == "google.protobuf" && strings.HasSuffix(string(md.Name()), "Value") && md.Fields().Len() == 1 {
		return scalarWanted(md.Fields().Get(0)) // a wrapper
	}
	example := "{}"
	if md.Fields().Len() > 0 {
		if fd := md.Fields().Get(0); fd.Message() == nil {
			example = `{"` + fd.JSONName() + `": ` + fieldWanted(fd, false).example + "}"
		}
	}
	return wanted{"a " + string(md.FullName()), example}
}

var wellKnownWanted = map[protoreflect.FullName]wanted{
	"google.protobuf.Any":       {"an Any", `{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "0.5s"}`},
	"google.protobuf.Duration":  {"a duration", `"0.5s"`},
	"google.protobuf.FieldMask": {"a field mask", `"name,address.city"`},
	"google.protobuf.ListValue": {"a list", `[1, "a"]`},
	"google.protobuf.Struct":    {"an object", `{"key": "value"}`},
	"google.protobuf.Timestamp": {"a timestamp", `"2006-01-02T15:04:05Z"`},
	"google.protobuf.Value":     {"any JSON value", `"text"`},
}
