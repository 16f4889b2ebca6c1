package call

import (
	"context"
	"errors"

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

	limit int // of the result, in bytes; default: maxFormatted
}

const (
	// maxFormatted bounds a formatted message, in bytes. A message may be much longer
	// than on the wire, where names don't appear.
	maxFormatted = 512 << 20

	// maxIndentation bounds the white space in a message with line breaks, in bytes. It
	// grows with the square of the nesting depth.
	maxIndentation = 64 << 20

	// maxNested bounds the messages in google.protobuf.Any messages that are inside
	// others, in bytes: each is decoded once for every level.
	maxNested = 64 << 20

	// maxAnyDepth is the deepest level at which an Any is decoded. It is protobuf's own
	// limit for the depth of a message, which doesn't count the levels outside an Any.
	maxAnyDepth = 10_000
)

// errIndentation reports more indentation than maxIndentation.
var errIndentation = errors.New("too much indentation")

// FormatMessage formats m, without a final line break. For a google.protobuf.Any whose
// type isn't in types, it writes the value in base64 as @value. types may be nil.
//
// A message that would need more than 64 MiB of indentation is formatted on one line, one
// longer than 512 MiB is an error. Time and memory are proportional to the result. If ctx
// ends before a long message is complete, the error is the cause.
func FormatMessage(ctx context.Context, m protoreflect.ProtoMessage, types reflection.TypeResolver, opts *FormatOptions) (string, error) {
	var o FormatOptions
	if opts != nil {
		o = *opts
	}
	if types == nil {
		types = (*reflection.Set)(nil).Types()
	}
	text, err := encode(ctx, m.ProtoReflect(), types, o)
	if errors.Is(err, errIndentation) {
		o.Compact = true
		text, err = encode(ctx, m.ProtoReflect(), types, o)
	}
	return escape.Text(text), err
}
