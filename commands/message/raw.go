package message

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxRawDepth bounds the nesting of messages that are formatted without their types:
	// each level looks at all the bytes again.
	maxRawDepth = 32

	// maxRawFields bounds the fields of one such message. A field takes two bytes on the
	// wire, and about forty here.
	maxRawFields = 1 << 20
)

// Raw formats an encoded message without its type, as JSON. The names are the field
// numbers. A field that is repeated is an array.
//
// Bytes are shown as text if they are printable UTF-8, otherwise as a message if they can be
// one, and otherwise as {"@bytes":"…"} in base64. The values of other types are
// numbers, strings if they exceed 53 bits, {"@fixed32":"0x…"}, {"@fixed64":"0x…"} and
// {"@group":{…}}. The end of data, if it isn't a field, is @rest in base64. No field is
// lost, but not all types can be known.
//
// opts.Compact and opts.MaxSize apply. For the errors, see [Format].
func Raw(ctx context.Context, data []byte, opts *Options) (string, error) {
	return format(ctx, nil, opts, func(e *encoder) error {
		e.opts.Encoding = JSON
		e.open('{')
		if err := e.rawFields(data, "", maxRawDepth); err != nil {
			return err
		}
		e.close('}')
		return nil
	})
}

// rawField is a field on the wire.
type rawField struct {
	number   protowire.Number
	wireType protowire.Type
	value    []byte
}

// splitFields returns the fields in b, in the order of their numbers, and the rest of b, which
// isn't a field or exceeds maxRawFields.
func splitFields(b []byte) (fields []rawField, rest []byte) {
	for len(b) > 0 && len(fields) < maxRawFields {
		number, wireType, n := protowire.ConsumeField(b)
		if n < 0 {
			break
		}
		_, _, tag := protowire.ConsumeTag(b)
		fields = append(fields, rawField{number, wireType, b[tag:n]})
		b = b[n:]
	}
	slices.SortStableFunc(fields, func(a, b rawField) int { return cmp.Compare(a.number, b.number) })
	return fields, b
}

// rawFields writes the fields in b as members of an object whose names begin with prefix.
func (e *encoder) rawFields(b []byte, prefix string, depth int) error {
	fields, rest := splitFields(b)
	for len(fields) > 0 {
		same := 1
		for same < len(fields) && fields[same].number == fields[0].number {
			same++
		}
		e.jsonName(prefix + strconv.Itoa(int(fields[0].number)))
		if err := e.rawValues(fields[:same], depth); err != nil {
			return err
		}
		fields = fields[same:]
	}
	if len(rest) > 0 {
		e.jsonMember("@rest", base64.StdEncoding.EncodeToString(rest))
	}
	return nil
}

// rawValues writes the values of one field.
func (e *encoder) rawValues(fields []rawField, depth int) error {
	if len(fields) == 1 {
		return e.rawValue(fields[0], depth)
	}
	e.open('[')
	for _, f := range fields {
		e.jsonItem()
		if err := e.rawValue(f, depth); err != nil {
			return err
		}
	}
	e.close(']')
	return nil
}

func (e *encoder) rawValue(f rawField, depth int) error {
	if err := e.check(); err != nil {
		return err
	}
	switch f.wireType {
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(f.value)
		if text := strconv.FormatUint(v, 10); v < 1<<53 {
			e.out.WriteString(text)
		} else {
			e.quote(text)
		}
	case protowire.Fixed32Type:
		v, _ := protowire.ConsumeFixed32(f.value)
		e.jsonObject("@fixed32", fmt.Sprintf("0x%08x", v))
	case protowire.Fixed64Type:
		v, _ := protowire.ConsumeFixed64(f.value)
		e.jsonObject("@fixed64", fmt.Sprintf("0x%016x", v))
	case protowire.StartGroupType:
		b, _ := protowire.ConsumeGroup(f.number, f.value)
		e.open('{')
		e.jsonName("@group")
		if err := e.rawMessage(b, depth-1); err != nil {
			return err
		}
		e.close('}')
	case protowire.BytesType:
		b, _ := protowire.ConsumeBytes(f.value)
		if isText(b) {
			e.quote(string(b))
			return nil
		}
		return e.rawMessage(b, depth-1)
	}
	return nil
}

// rawMessage writes b as a message if it can be one.
func (e *encoder) rawMessage(b []byte, depth int) error {
	if depth == 0 || !isMessage(b) {
		e.jsonObject("@bytes", base64.StdEncoding.EncodeToString(b))
		return nil
	}
	e.open('{')
	if err := e.rawFields(b, "", depth); err != nil {
		return err
	}
	e.close('}')
	return nil
}

// isText reports whether b is UTF-8 without control characters other than white space.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}
