package message

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/tunnel/escape"
)

// textName starts a field.
func (e *encoder) textName(name string) {
	switch {
	case !e.empty && e.opts.Compact:
		e.out.WriteByte(' ')
	case !e.empty || e.depth > 0:
		e.newline()
	}
	e.empty = false
	e.out.WriteString(name)
	e.colon()
}

// textMessage writes the fields of m.
func (e *encoder) textMessage(m protoreflect.Message) error {
	if md := m.Descriptor(); md.Name() == "Any" && e.form(md) != nil && len(m.GetUnknown()) == 0 {
		a := newAny(m)
		clean := escape.Line(a.url) == a.url // it is printed as it is, not quoted
		if inner, _ := e.decode(a); clean && inner != nil {
			e.anys++
			defer func() { e.anys-- }()
			e.textName("[" + a.url + "]")
			return e.textBraces(inner)
		}
	}
	if err := e.eachField(m, e.textField); err != nil {
		return err
	}
	return e.textUnknown(m.GetUnknown())
}

// textBraces writes m in braces.
func (e *encoder) textBraces(m protoreflect.Message) error {
	e.open('{')
	if err := e.textMessage(m); err != nil {
		return err
	}
	e.close('}')
	return nil
}

func (e *encoder) textField(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case fd.IsMap():
		return e.textMap(fd, v.Map())
	case fd.IsList():
		for i := range v.List().Len() {
			e.textName(fd.TextName())
			if err := e.textValue(fd, v.List().Get(i)); err != nil {
				return err
			}
		}
		return nil
	}
	e.textName(fd.TextName())
	return e.textValue(fd, v)
}

func (e *encoder) textMap(fd protoreflect.FieldDescriptor, m protoreflect.Map) error {
	keys, err := e.sortedKeys(fd, m)
	if err != nil {
		return err
	}
	for _, key := range keys {
		e.textName(fd.TextName())
		e.open('{')
		e.textName("key")
		if err := e.textValue(fd.MapKey(), key.Value()); err != nil {
			return err
		}
		e.textName("value")
		if err := e.textValue(fd.MapValue(), m.Get(key)); err != nil {
			return err
		}
		e.close('}')
	}
	return nil
}

// textValue writes a single value of a field.
func (e *encoder) textValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if err := e.check(); err != nil {
		return err
	}
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return e.textBraces(v.Message())
	case protoreflect.StringKind:
		e.quote(v.String())
	case protoreflect.BytesKind:
		e.quote(string(v.Bytes()))
	case protoreflect.EnumKind:
		if value := fd.Enum().Values().ByNumber(v.Enum()); value != nil {
			e.out.WriteString(string(value.Name()))
		} else {
			e.out.WriteString(strconv.Itoa(int(v.Enum())))
		}
	case protoreflect.FloatKind:
		e.textFloat(v.Float(), 32)
	case protoreflect.DoubleKind:
		e.textFloat(v.Float(), 64)
	default:
		e.out.WriteString(v.String())
	}
	return nil
}

func (e *encoder) textFloat(f float64, bits int) {
	switch {
	case math.IsNaN(f):
		e.out.WriteString("nan")
	case math.IsInf(f, 1):
		e.out.WriteString("inf")
	case math.IsInf(f, -1):
		e.out.WriteString("-inf")
	default:
		e.out.WriteString(strconv.FormatFloat(f, 'g', -1, bits))
	}
}

// textUnknown writes fields that the type doesn't have. Bytes that aren't a field, which
// Decode leaves only at the end of a message, become a comment.
func (e *encoder) textUnknown(b []byte) error {
	groups := 0
	for len(b) > 0 {
		if err := e.check(); err != nil {
			return err
		}
		number, wireType, n := protowire.ConsumeTag(b)
		if groups == 0 && (n < 0 || protowire.ConsumeFieldValue(number, wireType, b[n:]) < 0) {
			e.textName("# not a field")
			e.quote(string(b))
			return nil
		}
		b = b[n:]
		if wireType == protowire.EndGroupType {
			e.close('}')
			groups--
			continue
		}
		e.textName(strconv.Itoa(int(number)))
		switch wireType {
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			e.out.WriteString(strconv.FormatUint(v, 10))
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			e.out.WriteString("0x" + strconv.FormatUint(uint64(v), 16))
		case protowire.Fixed64Type:
			var v uint64
			v, n = protowire.ConsumeFixed64(b)
			e.out.WriteString("0x" + strconv.FormatUint(v, 16))
		case protowire.BytesType:
			var v []byte
			v, n = protowire.ConsumeBytes(b)
			e.quote(string(v))
		case protowire.StartGroupType:
			e.open('{')
			groups++
			n = 0
		}
		b = b[n:]
	}
	return nil
}
