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
	"github.com/wstun/wstun/tunnel/escape"
)

// FormatOptions are options for formatting messages. Nil means indented JSON.
type FormatOptions struct {
	Format       Format // default: JSON
	Compact      bool   // on one line
	EmitDefaults bool   // JSON: include unset fields
	ProtoNames   bool   // JSON: use the field names of the .proto file
}

// FormatMessage formats m, without a final line break. For a google.protobuf.Any whose
// type isn't in types, it writes the value in base64 as @value. types may be nil.
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
		AllowPartial: true, UseProtoNames: opts.ProtoNames, EmitUnpopulated: opts.EmitDefaults, Resolver: anyResolver{types},
	}.Marshal(m)
	if err != nil {
		return "", trimError(err)
	}
	// protojson varies its white space on purpose.
	var out bytes.Buffer
	if opts.Compact {
		err = json.Compact(&out, data)
	} else {
		err = json.Indent(&out, data, "", "  ")
	}
	if err != nil {
		return "", fmt.Errorf("format message: %w", err)
	}
	return escape.Text(out.String()), nil
}

// fieldSpace matches the spaces after a field's name. prototext writes one or two on
// purpose.
var fieldSpace = regexp.MustCompile(`(?m)^(\s*(?:\w+|\[[^\]]*\]):) +`)

func formatText(m protoreflect.ProtoMessage, types reflection.TypeResolver, opts *FormatOptions) (string, error) {
	data, err := prototext.MarshalOptions{AllowPartial: true, Multiline: !opts.Compact, EmitUnknown: true, Resolver: cleanURLs{types}}.Marshal(m)
	if err != nil {
		return "", trimError(err)
	}
	if !opts.Compact {
		data = fieldSpace.ReplaceAll(data, []byte("$1 "))
	}
	return escape.Text(string(bytes.TrimRight(data, "\n"))), nil
}
