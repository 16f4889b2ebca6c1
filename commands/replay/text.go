package replay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
)

// text returns a value of a field, or of its elements, in JSON.
func (d *diff) text(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if fd.Message() != nil {
		return d.message(v.Message())
	}
	return scalar(fd, v)
}

func (d *diff) message(m protoreflect.Message) string {
	text, err := message.Format(d.ctx, m.Interface(), d.types, &message.Options{Compact: true, ProtoNames: true, Redact: d.redact})
	if err != nil {
		return quote(err.Error())
	}
	return text
}

// raw returns unknown fields with the same number, "" if there are none.
func (d *diff) raw(fields []byte) string {
	if len(fields) == 0 {
		return ""
	}
	text, err := message.Raw(d.ctx, fields, &message.Options{Compact: true})
	if err != nil {
		return quote(err.Error())
	}
	_, text, _ = strings.Cut(text, ":") // after the number
	return strings.TrimSuffix(text, "}")
}

// scalar returns a value that isn't a message in JSON.
func scalar(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		if text := v.String(); utf8.ValidString(text) {
			return quote(text)
		}
		return `{"@bytes":"` + base64.StdEncoding.EncodeToString([]byte(v.String())) + `"}`
	case protoreflect.BytesKind:
		return quote(base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.EnumKind:
		if value := fd.Enum().Values().ByNumber(v.Enum()); value != nil {
			return quote(string(value.Name()))
		}
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return quote(fmt.Sprint(f))
		}
		bits := 64
		if fd.Kind() == protoreflect.FloatKind {
			bits = 32
		}
		return strconv.FormatFloat(v.Float(), 'g', -1, bits)
	}
	return v.String()
}

// quote returns text as a string in JSON.
func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string can't fail
	return strings.TrimSuffix(b.String(), "\n")
}

// shorten returns the parts of two texts around their first difference, if they are
// longer than a number of bytes.
func shorten(a, b string, size int) (string, string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	start := 0
	if same > size/2 && max(len(a), len(b)) > size {
		start = same - size/4
	}
	return part(a, start, size), part(b, start, size)
}

// part returns up to size bytes of a text from start on, with marks where it is cut.
func part(text string, start, size int) string {
	end := min(len(text), start+size)
	for start > 0 && start < len(text) && !utf8.RuneStart(text[start]) {
		start--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	short := text[min(start, len(text)):end]
	if start > 0 && text != "" {
		short = "…" + short
	}
	if end < len(text) {
		short += "…"
	}
	return short
}
