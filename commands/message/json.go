package message

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
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
	e.quote(strings.ToValidUTF8(name, "\ufffd")) // that of a descriptor may be invalid
	e.colon()
}

// jsonText writes s, the value of fd, as a string or, if it isn't valid UTF-8, as an object.
func (e *encoder) jsonText(fd protoreflect.FieldDescriptor, s string) {
	text := strings.ToValidUTF8(s, "\ufffd")
	if text == s {
		e.quote(s)
		return
	}
	e.note("%s is not valid UTF-8", fd.FullName())
	e.open('{')
	e.jsonMember("@text", text)
	e.jsonMember("@bytes", base64.StdEncoding.EncodeToString([]byte(s)))
	e.close('}')
}

// jsonMember writes a member of an object that is a string.
func (e *encoder) jsonMember(name, text string) {
	e.jsonName(name)
	e.quote(text)
}

// jsonObject writes an object with one member, a string.
func (e *encoder) jsonObject(name, text string) {
	e.open('{')
	e.jsonMember(name, text)
	e.close('}')
}

func (e *encoder) jsonMessage(m protoreflect.Message) error {
	if len(m.GetUnknown()) == 0 {
		if form := e.form(m.Descriptor()); form != nil {
			return form(e, m)
		}
	}
	return e.jsonPlain(m)
}

// jsonPlain writes m as an object with its fields.
func (e *encoder) jsonPlain(m protoreflect.Message) error {
	e.open('{')
	if err := e.jsonFields(m); err != nil {
		return err
	}
	e.close('}')
	return nil
}

// jsonFields writes the members of an object.
func (e *encoder) jsonFields(m protoreflect.Message) error {
	err := e.eachField(m, func(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
		name := fd.JSONName()
		if e.opts.ProtoNames {
			name = fd.TextName()
		}
		e.jsonName(name)
		return e.jsonField(fd, v)
	})
	if err != nil || len(m.GetUnknown()) == 0 {
		return err
	}
	e.noteUnknown(m)
	if e.opts.HideUnknown {
		e.jsonMember("+", Redacted)
		return nil
	}
	return e.rawFields(m.GetUnknown(), "+", maxRawDepth)
}

func (e *encoder) noteUnknown(m protoreflect.Message) {
	// Servers may send fields in any order, so the note is about the lowest number.
	lowest, isMalformed := protowire.Number(math.MaxInt32), false
	for b := m.GetUnknown(); len(b) > 0 && !isMalformed; {
		number, _, n := protowire.ConsumeField(b)
		if isMalformed = n < 0; !isMalformed {
			lowest, b = min(lowest, number), b[n:]
		}
	}
	md := m.Descriptor()
	fd := md.Fields().ByNumber(lowest)
	switch {
	case lowest == math.MaxInt32:
		e.note("the end of a %s is not a field", md.FullName())
	case fd != nil:
		e.note("the value of %s does not fit its type", fd.FullName())
	default:
		e.note("%s has no field %d", md.FullName(), lowest)
	}
}

func (e *encoder) jsonField(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case !v.IsValid():
		e.out.WriteString("null")
		return nil
	case e.opts.Redact != nil && e.opts.Redact(fd):
		e.quote(Redacted)
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
		name := key.String()
		if !utf8.ValidString(name) {
			e.note("a key of %s is not valid UTF-8", fd.FullName())
			name = "@bytes:" + base64.StdEncoding.EncodeToString([]byte(name))
		}
		e.jsonName(name)
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
		e.jsonText(fd, v.String())
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
