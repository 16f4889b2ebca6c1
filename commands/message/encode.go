package message

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/reflection/types"
)

// encoder writes a message as JSON or in the text format. The result is that of protojson
// or prototext, which can't be interrupted, don't limit the length and refuse some messages.
type encoder struct {
	out   strings.Builder
	opts  Options
	types types.Resolver
	forms map[protoreflect.MessageDescriptor]jsonForm // nil: none

	depth       int  // of the open braces and brackets
	empty       bool // the innermost one has no contents yet
	indentation int  // bytes written so far
	anys        int  // number of open Anys
	nested      int  // bytes of Anys inside Anys decoded so far
	noted       bool // Note has been called

	interrupted func() error // returns the cause of the context's end
	steps       int          // calls of check
	err         error        // of check
}

// encode returns the text that write writes. The error may be errIndentation.
func encode(ctx context.Context, t types.Resolver, opts Options, write func(*encoder) error) (_ string, err error) {
	defer func() {
		if r := recover(); r != nil { // a server may define types that protobuf wouldn't
			err = fmt.Errorf("malformed type of message: %v", r)
		}
	}()
	e := &encoder{
		opts: opts, types: orGlobal(t), empty: true, forms: map[protoreflect.MessageDescriptor]jsonForm{},
		interrupted: func() error { return context.Cause(ctx) },
	}
	e.opts.MaxSize = cmp.Or(opts.MaxSize, DefaultMaxSize)
	e.opts.EmitDefaults = opts.EmitDefaults && opts.Encoding != Text
	if err := cmp.Or(write(e), e.check()); err != nil {
		return "", err
	}
	return e.out.String(), nil
}

// note reports the reason for a value that isn't in canonical JSON.
func (e *encoder) note(format string, args ...any) {
	if !e.noted {
		e.noted = true
		e.opts.Note(fmt.Sprintf(format, args...))
	}
}

// lengthError reports a message that is longer than the limit, in bytes.
type lengthError struct {
	limit  int
	format Encoding
}

func (e *lengthError) Error() string {
	return fmt.Sprintf("the message is longer than %d MiB as %s", e.limit>>20, e.format)
}

// Hint returns advice to the user.
func (e *lengthError) Hint() string { return "request less at a time, and without --emit-defaults" }

// check returns an error if the message has become too large, or ctx has ended. It is
// called for each value.
func (e *encoder) check() error {
	e.steps++
	switch {
	case e.err != nil:
	case e.out.Len() > e.opts.MaxSize:
		e.err = &lengthError{e.opts.MaxSize, cmp.Or(e.opts.Encoding, JSON)}
	case e.indentation > maxIndentation:
		e.err = errIndentation
	case e.steps%256 == 0:
		e.err = e.interrupted()
	}
	return e.err
}

// open writes an opening brace or bracket.
func (e *encoder) open(c byte) {
	e.out.WriteByte(c)
	e.depth++
	e.empty = true
}

// close writes a closing brace or bracket.
func (e *encoder) close(c byte) {
	e.depth--
	if !e.empty {
		e.newline()
	}
	e.empty = false
	e.out.WriteByte(c)
}

// newline starts a new line, unless everything is on one line.
func (e *encoder) newline() {
	if e.opts.Compact {
		return
	}
	e.out.WriteByte('\n')
	for range e.depth {
		e.out.WriteString("  ")
	}
	e.indentation += 2 * e.depth
}

// colon separates a name from its value.
func (e *encoder) colon() {
	e.out.WriteByte(':')
	if !e.opts.Compact {
		e.out.WriteByte(' ')
	}
}

// eachField calls f for the fields of m to print, in the order of their declaration, and
// for the extensions, in the order of their names. The value is invalid for a message that
// prints as null.
func (e *encoder) eachField(m protoreflect.Message, f func(protoreflect.FieldDescriptor, protoreflect.Value) error) error {
	if e.opts.EmitDefaults {
		if err := e.eachDeclared(m, f); err != nil {
			return err
		}
	}
	type field struct {
		protoreflect.FieldDescriptor
		value protoreflect.Value
	}
	var fields []field
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !e.opts.EmitDefaults || fd.IsExtension() {
			fields = append(fields, field{fd, v})
		}
		return true
	})
	slices.SortFunc(fields, func(a, b field) int {
		switch {
		case a.IsExtension() && b.IsExtension():
			return cmp.Compare(a.FullName(), b.FullName())
		case a.IsExtension():
			return 1
		case b.IsExtension():
			return -1
		}
		return cmp.Compare(a.Index(), b.Index())
	})
	for _, fd := range fields {
		if err := e.check(); err != nil {
			return err
		}
		if err := f(fd.FieldDescriptor, fd.value); err != nil {
			return err
		}
	}
	return nil
}

// eachDeclared calls f for the fields that m's type declares. It makes no list of them,
// because nested messages could have long ones at every level.
func (e *encoder) eachDeclared(m protoreflect.Message, f func(protoreflect.FieldDescriptor, protoreflect.Value) error) error {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if err := e.check(); err != nil {
			return err
		}
		fd := fields.Get(i)
		var v protoreflect.Value
		switch {
		case m.Has(fd), !fd.HasPresence():
			v = m.Get(fd)
		case fd.ContainingOneof() != nil:
			continue
		case fd.Message() == nil:
			v = m.Get(fd) // the default
		}
		if err := f(fd, v); err != nil {
			return err
		}
	}
	return nil
}

// sortedKeys returns the keys of m.
func (e *encoder) sortedKeys(fd protoreflect.FieldDescriptor, m protoreflect.Map) ([]protoreflect.MapKey, error) {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, key)
		return e.check() == nil
	})
	compare := func(a, b protoreflect.MapKey) int { return cmp.Compare(a.Int(), b.Int()) }
	switch fd.MapKey().Kind() {
	case protoreflect.StringKind:
		compare = func(a, b protoreflect.MapKey) int { return cmp.Compare(a.String(), b.String()) }
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		compare = func(a, b protoreflect.MapKey) int { return cmp.Compare(a.Uint(), b.Uint()) }
	case protoreflect.BoolKind:
		compare = func(a, _ protoreflect.MapKey) int {
			if a.Bool() {
				return 1
			}
			return -1
		}
	}
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int {
		if e.check() != nil {
			return 0 // sorting ends soon if all keys are equal
		}
		return compare(a, b)
	})
	return keys, e.check()
}

// anyMessage is a google.protobuf.Any.
type anyMessage struct {
	url   string
	value []byte
}

func newAny(m protoreflect.Message) anyMessage {
	fields := m.Descriptor().Fields()
	return anyMessage{m.Get(fields.ByNumber(1)).String(), m.Get(fields.ByNumber(2)).Bytes()}
}

// decode returns the message in a. If it can't be decoded, or is nested too deep, it returns
// nil and the reason in words.
func (e *encoder) decode(a anyMessage) (_ protoreflect.Message, problem string) {
	name := strings.ToValidUTF8(a.url[strings.LastIndexByte(a.url, '/')+1:], "\ufffd")
	if e.anys > 0 {
		if e.nested > maxNested || e.depth > maxAnyDepth {
			return nil, name + " is nested too deep"
		}
		e.nested += len(a.value)
	}
	if a.url == "" {
		return nil, "the type is missing"
	}
	mt, err := e.types.FindMessageByURL(a.url)
	switch {
	case errors.Is(err, protoregistry.NotFound):
		return nil, name + " is not recognized"
	case err != nil:
		return nil, strings.ToValidUTF8(err.Error(), "\ufffd")
	case !isMessage(a.value):
		return nil, "the value is not a " + name
	}
	m := mt.New()
	Decode(a.value, m.Interface(), e.types)
	return m, ""
}

// quote writes s as a string of JSON, where it must be valid UTF-8, or of the text format,
// without control characters. It may stop early if the next check fails.
func (e *encoder) quote(s string) {
	isText := e.opts.Encoding == Text
	e.out.WriteByte('"')
	done := 0
	for i, r := range s {
		size := 1
		if r >= utf8.RuneSelf {
			_, size = utf8.DecodeRuneInString(s[i:])
		}
		invalid := r == utf8.RuneError && size == 1
		if r >= ' ' && r < 0x7f && r != '"' && r != '\\' || r > 0x9f && !invalid {
			continue
		}
		if e.check() != nil {
			return
		}
		e.out.WriteString(s[done:i])
		done = i + size
		e.out.WriteByte('\\')
		if short := strings.IndexRune("\"\\\n\r\t\b\f", r); short >= 0 && (short < 5 || !isText) {
			e.out.WriteByte(`"\nrtbf`[short])
			continue
		}
		code := s[done-1] // for two-byte runes up to U+009F, it is the last byte
		if isText && size == 1 {
			e.out.WriteByte('x')
		} else {
			e.out.WriteString("u00")
		}
		const hex = "0123456789abcdef"
		e.out.WriteByte(hex[code>>4])
		e.out.WriteByte(hex[code&15])
	}
	e.out.WriteString(s[done:])
	e.out.WriteByte('"')
}
