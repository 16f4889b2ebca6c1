package message

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/types"
)

const (
	// maxDepth is protobuf's own limit for the nesting of messages.
	maxDepth = 10_000

	// maxGroupDepth bounds the nesting of messages with groups. To find its end, a group
	// is read to there on every level.
	maxGroupDepth = 32
)

// Decode decodes data into m, which is empty. It differs from proto.Unmarshal in that it
// can't fail: strings need not be valid UTF-8, and all bytes that don't fit the type of m
// become unknown fields of m. At the end of those, there may be bytes that aren't a field.
//
// types finds extensions; it may be nil.
func Decode(data []byte, m protoreflect.ProtoMessage, types types.Resolver) {
	defer func() {
		if recover() != nil { // a server may define types that protobuf wouldn't
			r := m.ProtoReflect()
			r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				r.Clear(fd)
				return true
			})
			r.SetUnknown(append(protoreflect.RawFields(nil), data...))
		}
	}()
	d := &decoder{orGlobal(types)}
	d.message(data, m.ProtoReflect(), maxDepth)
}

// orGlobal returns types, or a resolver for the types linked into the program.
func orGlobal(t types.Resolver) types.Resolver {
	if t == nil {
		return types.Resolvers(nil)
	}
	return t
}

type decoder struct{ types types.Resolver }

// message decodes b into m, which may have fields already, and at most depth levels of
// messages.
func (d *decoder) message(b []byte, m protoreflect.Message, depth int) {
	unknown := m.GetUnknown()
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeField(b)
		if n < 0 {
			unknown = append(unknown, b...)
			break
		}
		_, _, tag := protowire.ConsumeTag(b)
		if fd := d.find(m.Descriptor(), number); fd == nil || !d.field(b[tag:n], wireType, m, fd, depth-1) {
			unknown = append(unknown, b[:n]...)
		}
		b = b[n:]
	}
	if len(unknown) > 0 {
		m.SetUnknown(unknown)
	}
}

// find returns the field or extension with that number, nil if there is none.
func (d *decoder) find(md protoreflect.MessageDescriptor, number protowire.Number) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByNumber(number); fd != nil {
		return fd
	}
	if md.ExtensionRanges().Has(number) {
		if xt, err := d.types.FindExtensionByNumber(md.FullName(), number); err == nil {
			return xt.TypeDescriptor()
		}
	}
	return nil
}

// field decodes the value of fd. If it doesn't fit, it returns false and doesn't change m.
func (d *decoder) field(b []byte, wireType protowire.Type, m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) bool {
	switch {
	case fd.IsMap():
		return d.entry(b, wireType, m, fd, depth)
	case fd.Message() != nil:
		inner, ok := d.content(b, wireType, fd, depth)
		switch {
		case !ok:
		case fd.IsList():
			d.message(inner, m.Mutable(fd).List().AppendMutable().Message(), depth)
		default:
			d.message(inner, m.Mutable(fd).Message(), depth)
		}
		return ok
	case fd.IsList() && wireType == protowire.BytesType && fd.Kind() != protoreflect.StringKind && fd.Kind() != protoreflect.BytesKind:
		return d.packed(b, m, fd)
	}
	v, _ := scalar(b, wireType, fd.Kind())
	switch {
	case !v.IsValid():
		return false
	case fd.IsList():
		m.Mutable(fd).List().Append(v)
	default:
		m.Set(fd, v)
	}
	return true
}

// content returns the encoded message in the value of fd. It returns false if there is none.
func (d *decoder) content(b []byte, wireType protowire.Type, fd protoreflect.FieldDescriptor, depth int) ([]byte, bool) {
	n := -1
	switch {
	case depth == 0:
	case fd.Kind() == protoreflect.GroupKind && wireType == protowire.StartGroupType && depth > maxDepth-maxGroupDepth:
		b, n = protowire.ConsumeGroup(fd.Number(), b)
	case fd.Kind() == protoreflect.MessageKind && wireType == protowire.BytesType:
		b, n = protowire.ConsumeBytes(b)
	}
	return b, n >= 0 && isMessage(b)
}

// isMessage reports whether b is a sequence of fields.
func isMessage(b []byte) bool {
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// packed decodes the elements of fd.
func (d *decoder) packed(b []byte, m protoreflect.Message, fd protoreflect.FieldDescriptor) bool {
	wireType := protowire.VarintType
	switch fd.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		wireType = protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		wireType = protowire.Fixed64Type
	}
	b, _ = protowire.ConsumeBytes(b)
	for rest := b; len(rest) > 0; {
		n := protowire.ConsumeFieldValue(1, wireType, rest)
		if n < 0 {
			return false
		}
		rest = rest[n:]
	}
	list := m.Mutable(fd).List()
	for len(b) > 0 {
		v, n := scalar(b, wireType, fd.Kind())
		list.Append(v)
		b = b[n:]
	}
	return true
}

// entry decodes an entry of the map fd.
func (d *decoder) entry(b []byte, wireType protowire.Type, m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) bool {
	if wireType != protowire.BytesType || depth == 0 {
		return false
	}
	b, _ = protowire.ConsumeBytes(b)
	key, value := fd.MapKey().Default(), fd.MapValue().Default()
	isNested := fd.MapValue().Message() != nil
	if isNested {
		value = m.NewField(fd).Map().NewValue()
	}
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeField(b)
		if n < 0 {
			return false
		}
		_, _, tag := protowire.ConsumeTag(b)
		field := b[tag:n]
		b = b[n:]
		switch {
		case number == 1:
			key, _ = scalar(field, wireType, fd.MapKey().Kind())
		case number == 2 && isNested:
			inner, ok := d.content(field, wireType, fd.MapValue(), depth-1)
			if !ok {
				return false
			}
			d.message(inner, value.Message(), depth-1)
		case number == 2:
			value, _ = scalar(field, wireType, fd.MapValue().Kind())
		default:
			return false // a Map can't hold it
		}
		if !key.IsValid() || !value.IsValid() {
			return false
		}
	}
	m.Mutable(fd).Map().Set(key.MapKey(), value)
	return true
}

// scalar decodes a value that isn't a message, and returns its length. The value is invalid
// if it has another type.
func scalar(b []byte, wireType protowire.Type, kind protoreflect.Kind) (v protoreflect.Value, n int) {
	switch wireType {
	case protowire.VarintType:
		var u uint64
		u, n = protowire.ConsumeVarint(b)
		v = varint(u, kind)
	case protowire.Fixed32Type:
		var u uint32
		u, n = protowire.ConsumeFixed32(b)
		switch kind {
		case protoreflect.Fixed32Kind:
			v = protoreflect.ValueOfUint32(u)
		case protoreflect.Sfixed32Kind:
			v = protoreflect.ValueOfInt32(int32(u)) //nolint:gosec // two's complement
		case protoreflect.FloatKind:
			v = protoreflect.ValueOfFloat32(math.Float32frombits(u))
		}
	case protowire.Fixed64Type:
		var u uint64
		u, n = protowire.ConsumeFixed64(b)
		switch kind {
		case protoreflect.Fixed64Kind:
			v = protoreflect.ValueOfUint64(u)
		case protoreflect.Sfixed64Kind:
			v = protoreflect.ValueOfInt64(int64(u)) //nolint:gosec // two's complement
		case protoreflect.DoubleKind:
			v = protoreflect.ValueOfFloat64(math.Float64frombits(u))
		}
	case protowire.BytesType:
		var value []byte
		value, n = protowire.ConsumeBytes(b)
		switch kind {
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString(string(value))
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes(append([]byte{}, value...))
		}
	}
	return v, n
}

// varint returns the value of a field of that kind, an invalid one if it isn't a varint.
func varint(u uint64, kind protoreflect.Kind) protoreflect.Value {
	switch kind {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(protowire.DecodeBool(u))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(u)) //nolint:gosec // truncated as by protobuf
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(u)) //nolint:gosec // truncated as by protobuf
	case protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(int32(protowire.DecodeZigZag(u & math.MaxUint32))) //nolint:gosec // truncated as by protobuf
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(u)) //nolint:gosec // truncated as by protobuf
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(u)) //nolint:gosec // two's complement
	case protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(protowire.DecodeZigZag(u))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(u)
	}
	return protoreflect.Value{}
}
