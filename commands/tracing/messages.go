package tracing

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// shortBody is how much of a message is kept or decoded, in bytes, unless it is shown
	// whole.
	shortBody = 64 << 10

	// maxInflated is how long a message may be when it is decompressed, in bytes.
	maxInflated = 64 << 20

	// maxText is how long the JSON of a message may be, in bytes.
	maxText = 512 << 20

	// maxGrowth is how much longer than limit the JSON of a message may be.
	maxGrowth = 16

	// formatTimeout is how long it may take to format a message, including the time
	// for the server to describe it.
	formatTimeout = 5 * time.Second

	// maxRepair is how many levels of nested messages repair repairs.
	maxRepair = 10
)

// messages formats the messages of calls.
type messages struct {
	schema *schema
	show   bool     // messages are shown, or recorded with their bytes
	full   bool     // … without shortening
	fields bool     // a filter needs the fields of messages
	redact []string // patterns of fields

	limit int // how much of a message is decoded, in bytes, unless full is set; 0: shortBody

	record      bool // events are recorded, and only short messages are formatted
	short       int  // … of up to so many bytes
	keepSecrets bool
	redactor    message.Redactor // of recorded messages

	learned *Learned // may be nil
	forget  func()   // called when learned has new files
}

// body is Output.Body of the Tracer.
func (ms *messages) body() int {
	switch {
	case ms.full || ms.record && ms.show:
		return -1
	case ms.show || ms.fields:
		return shortBody
	}
	return 0
}

// text is a formatted message, or the formatted details of a status.
type text struct {
	json    string   // on one line
	unknown int      // fields that the schema doesn't have
	note    string   // why json isn't all of the message; may be empty
	schema  bool     // the message has been decoded with its schema
	details []string // JSON

	// For a recording.
	data      []byte   // the message, or the status with details, without secrets; nil: it isn't recorded
	redacted  []string // the fields that were removed from data
	truncated bool     // data isn't all of the message
}

// format returns the message or the details of e, or nil if it has none.
func (ms *messages) format(ctx context.Context, e *trace.Event) *text {
	switch {
	case e.Type == trace.ServerTrailer:
		return ms.details(ctx, e)
	case e.Type != trace.ClientMessage && e.Type != trace.ServerMessage || !ms.show && !ms.fields:
		return nil
	}
	data, err := inflate(e)
	if err != nil {
		return &text{note: err.Error()}
	}
	t := &text{truncated: e.Truncated()}
	if t.truncated {
		t.note = "the rest isn't kept"
		if len(e.Data) == 0 {
			t.note = "not kept"
			return t
		}
	}
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	md, types := ms.find(ctx, e)
	if md == nil && len(ms.redact) > 0 {
		t.note = "not shown, because --redact needs a schema"
		return t
	}
	t.schema = md != nil
	if ms.record {
		t.data, t.redacted = ms.withoutSecrets(data, md, types)
		if len(data) > ms.short && !ms.fields {
			return t
		}
	}
	isCut := t.truncated
	if limit := cmp.Or(ms.limit, shortBody); !ms.full && len(data) > limit { // a decoded message may take 80 times as much memory
		data, isCut = data[:limit], true
		t.note = cmp.Or(t.note, "the rest isn't shown")
	}
	if md == nil {
		t.json, err = message.Raw(ctx, data, ms.options())
	} else {
		if isCut {
			data = repair(data, md, maxRepair)
		}
		t.unknown, err = ms.decode(ctx, t, data, md, types)
	}
	if err != nil {
		t.note = err.Error()
	}
	return t
}

// find is schema.find. It forgets the results for the types of an earlier schema.
func (ms *messages) find(ctx context.Context, e *trace.Event) (protoreflect.MessageDescriptor, reflection.TypeResolver) {
	if ms.schema.renew() {
		ms.redactor = message.Redactor{}
	}
	return ms.schema.find(ctx, e)
}

// decode formats data, a message of type md, into t.json, and returns the number of its unknown fields.
func (ms *messages) decode(ctx context.Context, t *text, data []byte, md protoreflect.MessageDescriptor, types reflection.TypeResolver) (unknown int, err error) {
	m, odd, options := dynamicpb.NewMessage(md), false, ms.options()
	message.Decode(data, m, types)
	options.Note = func(string) { odd = true }
	if t.json, err = message.Format(ctx, m, types, options); !odd {
		return 0, err
	}
	unknown = countUnknown(m)
	if rest, removed := ms.withoutSecrets(data, md, types); len(removed) > 0 { // also from values that aren't shown as those of their fields
		m = dynamicpb.NewMessage(md)
		message.Decode(rest, m, types)
		t.json, err = message.Format(ctx, m, types, options)
	}
	return unknown, err
}

// withoutSecrets returns data, a message of type md, for a recording, and the fields that
// were removed from it. Without a type, md is nil.
func (ms *messages) withoutSecrets(data []byte, md protoreflect.MessageDescriptor, types reflection.TypeResolver) ([]byte, []string) {
	if data == nil {
		data = []byte{}
	}
	if ms.keepSecrets || md == nil {
		return data, nil
	}
	ms.redactor.IsSecret, ms.redactor.HideUnknown = ms.isSecret, len(ms.redact) > 0
	return ms.redactor.Redact(data, md, types)
}

// options returns the options for formatting a message. With --redact, nothing is shown
// whose name isn't known.
func (ms *messages) options() *message.Options {
	size := maxText
	if ms.limit > 0 {
		size = maxGrowth * ms.limit
	}
	return &message.Options{Compact: true, MaxSize: size, Redact: ms.isSecret, HideUnknown: len(ms.redact) > 0}
}

// details returns the details of the status of e, or nil if it has none.
func (ms *messages) details(ctx context.Context, e *trace.Event) *text {
	i := slices.IndexFunc(e.Metadata, func(f hpack.HeaderField) bool { return f.Name == recording.DetailsKey })
	if i < 0 {
		if e.Omitted {
			return &text{note: "some metadata isn't kept, perhaps details"}
		}
		return nil
	}
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(e.Metadata[i].Value, "="))
	s := &spb.Status{}
	if err == nil {
		err = proto.Unmarshal(data, s)
	}
	if err != nil {
		return &text{note: "malformed details"}
	}
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	_, types := ms.find(ctx, e)
	t := &text{}
	data, t.redacted = ms.withoutSecrets(data, s.ProtoReflect().Descriptor(), types)
	if proto.Unmarshal(data, s) != nil {
		return &text{note: "malformed details"}
	}
	if ms.record {
		t.data = data
	}
	for _, detail := range s.GetDetails() {
		if line, err := message.Format(ctx, detail, types, ms.options()); err == nil {
			t.details = append(t.details, line)
		}
	}
	return t
}

// value returns the message as decoded JSON, or nil.
func (t *text) value() (v any) {
	if t == nil || json.Unmarshal([]byte(t.json), &v) != nil {
		return nil
	}
	return v
}

// isSecret reports whether a field is declared as secret, or matches --redact.
func (ms *messages) isSecret(fd protoreflect.FieldDescriptor) bool {
	if ms.keepSecrets {
		return false
	}
	if o, ok := fd.Options().(*descriptorpb.FieldOptions); ok && o.GetDebugRedact() {
		return true
	}
	if len(ms.redact) == 0 {
		return false
	}
	names := []string{string(fd.Name()), fd.JSONName(), string(fd.Parent().Name()) + "." + string(fd.Name()), string(fd.FullName())}
	return slices.ContainsFunc(names, func(name string) bool { return matches(ms.redact, name) })
}

// inflate returns the body of e, decompressed.
func inflate(e *trace.Event) ([]byte, error) {
	data, more, err := inflateTo(e, maxInflated)
	if more {
		return nil, fmt.Errorf("longer than %d MiB when decompressed", maxInflated>>20)
	}
	return data, err
}

// inflateTo returns the body of e, decompressed, and if it is compressed up to limit bytes
// of it. It reports whether there is more.
func inflateTo(e *trace.Event, limit int) (data []byte, more bool, err error) {
	switch {
	case e.Whole, e.Encoding == "", e.Encoding == "identity":
		return e.Data, false, nil
	case e.Encoding == "gzip":
	default:
		return nil, false, fmt.Errorf("compressed with %s", e.Encoding)
	}
	z, err := gzip.NewReader(bytes.NewReader(e.Data))
	if err != nil {
		return nil, false, fmt.Errorf("not gzip: %w", err)
	}
	data, err = io.ReadAll(io.LimitReader(z, int64(limit)+1))
	switch {
	case len(data) > limit:
		return data[:limit], true, nil
	case err != nil && !e.Truncated():
		return nil, false, fmt.Errorf("not gzip: %w", err)
	}
	return data, false, nil
}

// repair returns the beginning of an encoded message without the end that is missing: it
// shortens the last string or bytes field, and those of the nested messages that it is in.
func repair(data []byte, md protoreflect.MessageDescriptor, depth int) []byte {
	for at := 0; at < len(data); {
		number, kind, n := protowire.ConsumeTag(data[at:])
		if n < 0 {
			return data[:at]
		}
		if size := protowire.ConsumeFieldValue(number, kind, data[at+n:]); size >= 0 {
			at += n + size
			continue
		}
		_, size := protowire.ConsumeVarint(data[at+n:])
		fd := md.Fields().ByNumber(number)
		if kind != protowire.BytesType || size < 0 || fd == nil || fd.IsPacked() {
			return data[:at]
		}
		rest := data[at+n+size:]
		if fd.Message() != nil && depth > 0 {
			rest = repair(rest, fd.Message(), depth-1)
		}
		return protowire.AppendBytes(bytes.Clone(data[:at+n]), rest)
	}
	return data
}

// countUnknown returns the number of unknown fields in m and its messages.
func countUnknown(m protoreflect.Message) (count int) {
	for b := m.GetUnknown(); len(b) > 0; count++ {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return count + 1
		}
		b = b[n:]
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					count += countUnknown(v.Message())
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				count += countUnknown(v.List().Get(i).Message())
			}
		default:
			count += countUnknown(v.Message())
		}
		return true
	})
	return count
}
