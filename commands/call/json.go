package call

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonItem starts an element of an array or a member of an object.
func (e *encoder) jsonItem() {
	if !e.empty {
		e.out.WriteByte(',')
	}
	e.empty = false
	e.newline()
}

// jsonName starts a member of an object.
func (e *encoder) jsonName(name string) {
	e.jsonItem()
	e.quote(name)
	e.colon()
}

func (e *encoder) jsonMessage(m protoreflect.Message) error {
	if marshal := wellKnown(m.Descriptor()); marshal != nil {
		return marshal(e, m)
	}
	e.open('{')
	if err := e.jsonFields(m); err != nil {
		return err
	}
	e.close('}')
	return nil
}

// jsonFields writes the members of an object.
func (e *encoder) jsonFields(m protoreflect.Message) error {
	return e.eachField(m, func(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
		name := fd.JSONName()
		if e.opts.ProtoNames {
			name = fd.TextName()
		}
		e.jsonName(name)
		return e.jsonField(fd, v)
	})
}

func (e *encoder) jsonField(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case !v.IsValid():
		e.out.WriteString("null")
		return nil
	case fd.IsList():
		return e.jsonList(fd, v.List())
	case fd.IsMap():
		return e.jsonMap(fd, v.Map())
	}
	return e.jsonValue(fd, v)
}

func (e *encoder) jsonList(fd protoreflect.FieldDescriptor, list protoreflect.List) error {
	e.open('[')
	for i := range list.Len() {
		e.jsonItem()
		if err := e.jsonValue(fd, list.Get(i)); err != nil {
			return err
		}
	}
	e.close(']')
	return nil
}

func (e *encoder) jsonMap(fd protoreflect.FieldDescriptor, m protoreflect.Map) error {
	keys, err := e.sortedKeys(fd, m)
	if err != nil {
		return err
	}
	e.open('{')
	for _, key := range keys {
		e.jsonName(key.String())
		if err := e.jsonValue(fd.MapValue(), m.Get(key)); err != nil {
			return err
		}
	}
	e.close('}')
	return nil
}

// jsonValue writes a single value of a field.
func (e *encoder) jsonValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if err := e.check(); err != nil {
		return err
	}
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return e.jsonMessage(v.Message())
	case protoreflect.StringKind:
		if !e.quote(v.String()) {
			return fmt.Errorf("field %s contains invalid UTF-8", fd.FullName())
		}
	case protoreflect.BytesKind:
		e.quote(base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.EnumKind:
		value := fd.Enum().Values().ByNumber(v.Enum())
		switch {
		case fd.Enum().FullName() == "google.protobuf.NullValue":
			e.out.WriteString("null")
		case value == nil:
			e.out.WriteString(strconv.Itoa(int(v.Enum())))
		default:
			e.quote(string(value.Name()))
		}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		e.jsonFloat(fd.Kind(), v.Float())
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		e.quote(v.String()) // JSON numbers have 53 bits
	default:
		e.out.WriteString(v.String())
	}
	return nil
}

func (e *encoder) jsonFloat(kind protoreflect.Kind, f float64) {
	var number any = f
	if kind == protoreflect.FloatKind {
		number = float32(f)
	}
	switch data, err := json.Marshal(number); {
	case err == nil:
		e.out.Write(data)
	case math.IsNaN(f):
		e.quote("NaN")
	case f > 0:
		e.quote("Infinity")
	default:
		e.quote("-Infinity")
	}
}

// wellKnown returns the method that writes a type with its own form in JSON, nil for
// other types.
func wellKnown(md protoreflect.MessageDescriptor) func(*encoder, protoreflect.Message) error {
	if md.FullName().Parent() != "google.protobuf" {
		return nil
	}
	switch md.Name() {
	case "Any":
		return (*encoder).jsonAny
	case "Timestamp", "Duration", "FieldMask":
		return (*encoder).jsonString
	case "BoolValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue", "StringValue", "BytesValue",
		"Struct", "ListValue":
		return (*encoder).jsonOnlyField
	case "Value":
		return (*encoder).jsonAlternative
	}
	return nil
}

// jsonString writes a message of a type that protojson writes as a string.
func (e *encoder) jsonString(m protoreflect.Message) error {
	data, err := protojson.Marshal(m.Interface())
	if err != nil {
		return trimError(err)
	}
	e.out.Write(data)
	return nil
}

// jsonOnlyField writes the value of the only field.
func (e *encoder) jsonOnlyField(m protoreflect.Message) error {
	fd := m.Descriptor().Fields().ByNumber(1)
	return e.jsonField(fd, m.Get(fd))
}

// jsonAlternative writes a google.protobuf.Value.
func (e *encoder) jsonAlternative(m protoreflect.Message) error {
	fd := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if fd == nil {
		return errors.New("google.protobuf.Value: none of the oneof fields is set")
	}
	v := m.Get(fd)
	if fd.Kind() == protoreflect.DoubleKind && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)) {
		return fmt.Errorf("%s: invalid %v value", fd.FullName(), v.Float())
	}
	return e.jsonValue(fd, v)
}

// jsonAny writes the fields of the message in a google.protobuf.Any together with its
// type. If it can't be decoded, it writes the reason and the bytes, as grpcurl does.
func (e *encoder) jsonAny(m protoreflect.Message) error {
	a := newAny(m)
	if a.url == "" && len(a.value) > 0 {
		return errors.New("google.protobuf.Any: type_url is not set")
	}
	e.open('{')
	if a.url != "" {
		if err := e.jsonDecoded(a); err != nil {
			return err
		}
	}
	e.close('}')
	return nil
}

// jsonDecoded writes the members of the object for an Any.
func (e *encoder) jsonDecoded(a anyMessage) error {
	e.jsonName("@type")
	if !e.quote(a.url) {
		return errors.New("google.protobuf.Any: type_url contains invalid UTF-8")
	}
	m, problem, err := e.decode(a)
	switch {
	case err != nil:
		return err
	case m == nil:
		e.jsonName("@error")
		e.quote(problem + "; see @value for raw binary message data")
		e.jsonName("@value")
		e.quote(base64.StdEncoding.EncodeToString(a.value))
		return nil
	}
	e.anys++
	defer func() { e.anys-- }()
	if marshal := wellKnown(m.Descriptor()); marshal != nil {
		e.jsonName("value")
		return marshal(e, m)
	}
	return e.jsonFields(m)
}
