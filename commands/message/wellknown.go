package message

import (
	"encoding/base64"
	"math"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// jsonForm writes a message of a type with its own form in JSON.
type jsonForm func(*encoder, protoreflect.Message) error

// form returns the own form of a type, nil if it has none.
func (e *encoder) form(md protoreflect.MessageDescriptor) jsonForm {
	if md.FullName().Parent() != "google.protobuf" {
		return nil
	}
	form, known := e.forms[md]
	if !known {
		if form = wellKnown(md.Name()); form != nil && !isOriginal(md) {
			form = nil
		}
		e.forms[md] = form
	}
	return form
}

func wellKnown(name protoreflect.Name) jsonForm {
	switch name {
	case "Any":
		return (*encoder).jsonAny
	case "Timestamp", "Duration", "FieldMask":
		return (*encoder).jsonString
	case "BoolValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue", "StringValue", "BytesValue",
		"Struct", "ListValue":
		return (*encoder).jsonOnlyField
	case "Value":
		return (*encoder).jsonAlternative
	case "Empty":
		return (*encoder).jsonPlain // in an Any, grpcurl prints it as the value
	}
	return nil
}

// isOriginal reports whether md has the fields of the type with its name in protobuf's own
// files: a server may define it in its own way.
func isOriginal(md protoreflect.MessageDescriptor) bool {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		return false
	}
	fields := mt.Descriptor().Fields()
	for i := range fields.Len() {
		want := fields.Get(i)
		fd := md.Fields().ByNumber(want.Number())
		if fd == nil || fd.Name() != want.Name() || fd.Kind() != want.Kind() || fd.Cardinality() != want.Cardinality() ||
			fd.IsMap() != want.IsMap() || (fd.ContainingOneof() == nil) != (want.ContainingOneof() == nil) {
			return false
		}
	}
	return md.Fields().Len() == fields.Len() && md.Oneofs().Len() == mt.Descriptor().Oneofs().Len()
}

// jsonString writes a message of a type that protojson writes as a string. If protojson
// refuses it, it writes its fields.
func (e *encoder) jsonString(m protoreflect.Message) error {
	data, err := protojson.Marshal(m.Interface())
	if err != nil {
		e.note("%v", TrimError(err))
		return e.jsonPlain(m)
	}
	e.out.Write(data)
	return nil
}

// jsonOnlyField writes the value of the only field.
func (e *encoder) jsonOnlyField(m protoreflect.Message) error {
	fd := m.Descriptor().Fields().ByNumber(1)
	return e.jsonField(fd, m.Get(fd))
}

// jsonAlternative writes a google.protobuf.Value. Its fields would look like those of a
// google.protobuf.Struct.
func (e *encoder) jsonAlternative(m protoreflect.Message) error {
	fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if fd == nil {
		e.note("google.protobuf.Value: none of the oneof fields is set")
		e.open('{')
		e.jsonName("@unset")
		e.out.WriteString("true")
		e.close('}')
		return nil
	}
	v := m.Get(fd)
	if fd.Kind() == protoreflect.DoubleKind && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)) {
		e.note("google.protobuf.Value: %v is not a number in JSON", v.Float())
		e.open('{')
		e.jsonName("@number")
		e.jsonFloat(fd.Kind(), v.Float())
		e.close('}')
		return nil
	}
	return e.jsonValue(fd, v)
}

// jsonAny writes the fields of the message in a google.protobuf.Any together with its
// type. If it can't be decoded, it writes the reason and the bytes, as grpcurl does.
func (e *encoder) jsonAny(m protoreflect.Message) error {
	a := newAny(m)
	e.open('{')
	if a.url != "" || len(a.value) > 0 {
		if err := e.jsonDecoded(a, m.Descriptor().Fields().ByNumber(1)); err != nil {
			return err
		}
	}
	e.close('}')
	return nil
}

// jsonDecoded writes the members of the object for an Any, whose URL is the value of fd.
func (e *encoder) jsonDecoded(a anyMessage, fd protoreflect.FieldDescriptor) error {
	if a.url != "" {
		e.jsonName("@type")
		e.jsonText(fd, a.url)
	}
	m, problem := e.decode(a)
	if m == nil {
		e.note("google.protobuf.Any: %s", problem)
		e.jsonMember("@error", problem+"; see @value for raw binary message data")
		value := base64.StdEncoding.EncodeToString(a.value)
		if e.opts.HideUnknown {
			value = Redacted
		}
		e.jsonMember("@value", value)
		return nil
	}
	e.anys++
	defer func() { e.anys-- }()
	if e.form(m.Descriptor()) != nil {
		e.jsonName("value")
		return e.jsonMessage(m)
	}
	return e.jsonFields(m)
}
