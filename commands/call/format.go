package call

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

// FormatOptions adjusts how messages are written. Its zero value and nil mean
// indented JSON.
type FormatOptions struct {
	Format       Format // default: JSON
	Compact      bool   // on one line
	EmitDefaults bool   // JSON: fields that are not set, too
	ProtoNames   bool   // JSON: field names as in the .proto file
}

// FormatMessage writes m down, without a line break at the end. What is in a
// google.protobuf.Any of a type that types doesn't know is written in base64, as
// @value. types may be nil.
func FormatMessage(m protoreflect.ProtoMessage, types reflection.TypeResolver, opts *FormatOptions) (string, error) {
	if opts == nil {
		opts = &FormatOptions{}
	}
	if types == nil {
		types = (*reflection.Set)(nil).Types()
	}
	if opts.Format == Text {
		return formatText(m, types, opts)
	}
	data, err := protojson.MarshalOptions{
		AllowPartial: true, UseProtoNames: opts.ProtoNames, EmitUnpopulated: opts.EmitDefaults, Resolver: anyTypes{types},
	}.Marshal(m)
	if err != nil {
		return "", plain(err)
	}
	data = unprinted.ReplaceAllFunc(data, func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, []rune(string(c))[0]) })
	// The space that protojson writes is another one in each build.
	var out bytes.Buffer
	if opts.Compact {
		err = json.Compact(&out, data)
	} else {
		err = json.Indent(&out, data, "", "  ")
	}
	if err != nil {
		return "", fmt.Errorf("format message: %w", err)
	}
	return out.String(), nil
}

// unprinted are the control characters that JSON leaves as they are and a terminal
// obeys.
var unprinted = regexp.MustCompile(`[\x{7f}-\x{9f}]`)

// fieldSpace is the space that prototext writes behind a field's name, of which it
// makes two in some builds.
var fieldSpace = regexp.MustCompile(`(?m)^(\s*(?:\w+|\[[^\]]*\]):) +`)

func formatText(m protoreflect.ProtoMessage, types reflection.TypeResolver, opts *FormatOptions) (string, error) {
	data, err := prototext.MarshalOptions{AllowPartial: true, Multiline: !opts.Compact, EmitUnknown: true, Resolver: types}.Marshal(m)
	if err != nil {
		return "", plain(err)
	}
	if !opts.Compact {
		data = fieldSpace.ReplaceAll(data, []byte("$1 "))
	}
	return string(bytes.TrimRight(data, "\n")), nil
}
