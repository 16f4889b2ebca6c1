package tracing

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// Decoder decodes the messages of events as a trace shows them. Its methods may be called
// from any goroutine. They may ask a server for types, and block up to 5 seconds then.
type Decoder struct {
	secrets *escape.Secrets // masked in recordings

	mu       sync.Mutex
	messages messages
}

// NewDecoder returns a Decoder. catalog has the types of the messages, redact are patterns
// of fields, as those of --redact, and secrets are masked in the metadata and statuses of
// recordings; both may be nil.
func NewDecoder(catalog *reflection.Catalog, redact []string, secrets *escape.Secrets) *Decoder {
	return &Decoder{secrets: secrets, messages: messages{schema: newSchema(catalog), show: true, redact: redact}}
}

// Decoded is a decoded message.
type Decoded struct {
	JSON     string // on one line, without secrets; "": see Note
	Schema   bool   // JSON has the names of fields, and not their numbers
	Unknown  int    // fields that the schema doesn't have
	Cut      bool   // JSON isn't all of the message
	Note     string // why; may be empty
	Size     int64  // of the message in bytes, decompressed, if it was; otherwise as sent
	Data     []byte // the message without secrets, decompressed; nil if there are no bytes of it, or Cut is set
	Redacted []string
}

// Message decodes up to limit bytes of the message of e.
func (d *Decoder) Message(ctx context.Context, e *trace.Event, limit int) *Decoded {
	plain := *e
	data, more, err := inflateTo(e, limit)
	if err != nil {
		return &Decoded{Note: err.Error(), Cut: true, Size: e.Size}
	}
	plain.Data, plain.Encoding, plain.Whole = data, "", !more && !e.Truncated()
	size := e.Size
	if plain.Whole {
		size = int64(len(data))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.messages.limit = limit
	t := d.messages.format(ctx, &plain)
	m := &Decoded{JSON: t.json, Schema: t.schema, Unknown: t.unknown, Note: t.note, Size: size}
	if m.Cut = !plain.Whole || len(data) > limit || t.json == ""; !m.Cut {
		md, types := d.messages.find(ctx, &plain)
		m.Data, m.Redacted = d.messages.withoutSecrets(data, md, types)
	}
	return m
}

// Inflate returns the body of e with its secrets, and if it is compressed up to limit bytes of
// it. It reports whether that is the whole message.
func Inflate(e *trace.Event, limit int) (data []byte, isWhole bool) {
	data, more, err := inflateTo(e, limit)
	return data, err == nil && !more && !e.Truncated()
}

// IsSecret reports whether the value of a field is masked.
func (d *Decoder) IsSecret(fd protoreflect.FieldDescriptor) bool { return d.messages.isSecret(fd) }

// Details decodes the details of the status of e. note says why there are none that can be
// shown, or is empty.
func (d *Decoder) Details(ctx context.Context, e *trace.Event) (details []string, note string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.messages.format(ctx, e)
	if t == nil {
		return nil, ""
	}
	return t.details, t.note
}

// Method returns the method with a path such as "/pkg.Service/Method", or nil if it isn't
// known.
func (d *Decoder) Method(ctx context.Context, path string) protoreflect.MethodDescriptor {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.messages.schema.renew()
	if s := d.messages.schema.method(ctx, path); s != nil {
		return s.Descriptor.(protoreflect.MethodDescriptor) //nolint:errcheck // checked by method
	}
	return nil
}

// Forget makes d ask for the types of messages again, because there is another server, or
// there are other files.
func (d *Decoder) Forget() { d.messages.schema.forget() }

// Export writes events, in this order, as a recording by a version of wstun. The second value
// of each is Line.Redacted. Secrets are removed as in other recordings. The error is that of w.
func (d *Decoder) Export(ctx context.Context, w io.Writer, version string, events iter.Seq2[*trace.Event, []string]) error {
	ms := &messages{
		schema: newSchema(d.messages.schema.catalog), redact: d.messages.redact,
		show: true, record: true, short: shortMessage,
	}
	r := &recorder{jsonRenderer: jsonRenderer{ms, d.secrets}, version: version, seen: map[protoreflect.FileDescriptor]bool{}, logger: slog.New(slog.DiscardHandler)}
	ms.schema.found = r.found
	out := &errorWriter{Writer: w}
	r.follower = &follower{out: out, render: r, messages: ms, calls: map[uint64]*call{}, stages: newStages(), closed: make(chan struct{})}
	r.follower.write(r.head(false))
	for e, redacted := range events {
		r.follower.event(e, func() *text { return ms.recorded(ctx, e, &recording.Line{Redacted: redacted}) })
		r.follower.flush()
		if out.err != nil {
			return out.err
		}
	}
	r.follower.Close()
	return out.err
}

// errorWriter remembers the first error of a Writer.
type errorWriter struct {
	io.Writer
	err error
}

func (w *errorWriter) Write(p []byte) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	n, w.err = w.Writer.Write(p)
	return n, w.err
}

// Redacts reports whether metadata with this name is secret: because of its name, or the
// patterns of --redact.
func (d *Decoder) Redacts(name string) bool {
	return trace.IsSecret(name) || matches(d.messages.redact, name)
}
