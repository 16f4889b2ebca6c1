// Package message decodes protobuf messages and formats them as JSON or in the text
// format, without losing anything that was received:
//
//	m := dynamicpb.NewMessage(md)
//	message.Decode(data, m, types)
//	line, err := message.Format(ctx, m, types, &message.Options{Compact: true})
//
// Without a schema, [Raw] formats field numbers and values. The JSON is that of protojson,
// except for values that protojson refuses or drops:
//
//   - A string that isn't valid UTF-8 is an object: @text has the string with U+FFFD in place
//     of the invalid bytes, for people, and @bytes all of its bytes in base64, for programs:
//     {"@text":"M\ufffdller","@bytes":"TfxsbGVy"}. As the key of a map, it is "@bytes:TfxsbGVy".
//   - A field that the type doesn't have, or that has another type on the wire, is named "+"
//     and its number. Its value is as in [Raw].
//   - The Timestamps, Durations and FieldMasks that have no form as a string are objects with
//     their fields: {"seconds":"1099511627776"}.
//   - In a google.protobuf.Value, a number that JSON doesn't have is {"@number":"NaN"}, and no
//     value at all is {"@unset":true}.
//   - A google.protobuf.Any whose type is unknown, or whose value isn't a message, has the
//     reason as @error and its bytes in base64 as @value.
//   - The end of a message that isn't a field, such as one that was cut off, is @rest in
//     base64.
//
// Each of them is an object or a member, so that it can't be mistaken for an ordinary value,
// and jq finds all of them by the first character of their names.
//
// Lifetimes: results share no memory with the arguments. Concurrency: all functions may be
// called from several goroutines, but not with a message that another one changes.
package message

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/types"
	"github.com/wstun/wstun/tunnel/escape"
)

// Encoding is a way to write messages as text.
type Encoding string

const (
	// JSON is a sequence of messages in ProtoJSON, with optional white space between
	// them.
	JSON Encoding = "json"

	// Text is protobuf's text format, with an ASCII record separator (0x1E) between
	// messages.
	Text Encoding = "text"
)

// Options are options for formatting messages. Nil means indented JSON.
type Options struct {
	Encoding     Encoding // default: JSON
	Compact      bool     // on one line
	EmitDefaults bool     // JSON: include unset fields
	ProtoNames   bool     // JSON: use the field names of the .proto file

	// MaxSize bounds the result, in bytes. Default: DefaultMaxSize.
	MaxSize int

	// Redact reports whether the value of a field is secret. JSON has Redacted in its
	// place, whatever its type. Default: none is.
	Redact func(fd protoreflect.FieldDescriptor) bool

	// HideUnknown hides bytes that have no field names: unknown fields, the value of a
	// google.protobuf.Any that can't be decoded, and ends that aren't a field.
	HideUnknown bool

	// Note is called once for each message that isn't in canonical JSON, with the
	// reason for the first such value. It isn't called for the text format, which has a
	// form for all values. Default: no notes.
	Note func(reason string)
}

const (
	// Redacted takes the place of a secret value in JSON.
	Redacted = "[redacted]"

	// DefaultMaxSize is the default of Options.MaxSize: 512 MiB. A message may be much
	// longer than on the wire, where names don't appear.
	DefaultMaxSize = 512 << 20

	// maxIndentation bounds the white space in a message with line breaks, in bytes. It
	// grows with the square of the nesting depth.
	maxIndentation = 64 << 20

	// maxNested bounds the messages in google.protobuf.Any messages that are inside
	// others, in bytes: each is decoded once for every level.
	maxNested = 64 << 20

	// maxAnyDepth is the deepest level at which an Any is decoded. It is protobuf's own
	// limit for the depth of a message, which doesn't count the levels outside an Any.
	maxAnyDepth = maxDepth
)

// errIndentation reports more indentation than maxIndentation.
var errIndentation = errors.New("too much indentation")

// Format formats m, without a final line break. types finds the types of
// google.protobuf.Any messages; it may be nil.
//
// A message that would need more than 64 MiB of indentation is formatted on one line, one
// longer than opts.MaxSize is an error. Time and memory are proportional to the result. If
// ctx ends before a long message is complete, the error is the cause. There are no other
// errors, whatever m contains.
func Format(ctx context.Context, m protoreflect.ProtoMessage, types types.Resolver, opts *Options) (string, error) {
	return format(ctx, types, opts, func(e *encoder) error {
		if e.opts.Encoding == Text {
			return e.textMessage(m.ProtoReflect())
		}
		return e.jsonMessage(m.ProtoReflect())
	})
}

// format returns the text that write writes, if necessary on one line.
func format(ctx context.Context, types types.Resolver, opts *Options, write func(*encoder) error) (string, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	note := o.Note
	o.Note = func(reason string) {
		if note != nil {
			note(reason)
			note = nil // also if the message is formatted again
		}
	}
	text, err := encode(ctx, types, o, write)
	if errors.Is(err, errIndentation) {
		o.Compact = true
		text, err = encode(ctx, types, o, write)
	}
	return escape.Text(text), err
}

// TrimError removes protobuf's prefix from an error, and its no-break spaces.
func TrimError(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "proto:")
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	return errors.New(strings.ReplaceAll(text, "\u00a0", " "))
}
