package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// Print prints the events that r has in JSON, a recording or the trace of a command with
// --output json, and ignores other lines. It returns when r ends, with its error, or when
// ctx has ended and r returns. With follow, r is a file that grows, and ends with ctx. If
// there are no events at all, the error says so. With --record, it records the events
// instead.
func (o *Options) Print(ctx context.Context, r io.Reader, follow bool, out *Output) error {
	o.Trace = true
	learned := &Learned{}
	out.Catalog, out.Learned = reflection.NewCatalog(learned), learned
	filter, err := o.check()
	if err != nil {
		return err
	}
	f, _ := o.newFollower(out, filter)
	if o.records() {
		if f, _, err = o.newRecorder(ctx, out, filter); err != nil {
			return err
		}
	}
	f.messages.forget = f.messages.schema.forget
	isSecret := o.isSecret(out)
	if follow {
		r = &growing{ctx, r, func() { f.Flush(time.Now()) }}
	}
	lines, found := recording.NewReader(r), false
	for ctx.Err() == nil {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if l.Event == recording.SchemaLine && learned.addSet(l.Files) {
			f.messages.schema.forget()
		}
		e, t := parseEvent(l)
		if e == nil {
			continue
		}
		if lines.Version == 0 && (o.records() || len(o.Redact) > 0) {
			return errors.New("no recording: these events lack the bytes of messages, which --record and --redact need")
		}
		found = true
		f.Flush(e.Time) // the calls that were open at that time
		if lines.Version > 0 {
			o.redactMetadata(e, isSecret)
			f.event(e, func() *text { return f.messages.recorded(e, l) }) //nolint:contextcheck // it has its own limit
		} else {
			f.event(e, func() *text { return t })
		}
		f.flush()
	}
	f.Close()
	if !found && lines.Lines > 0 && lines.Version == 0 {
		return fmt.Errorf("no events in %d lines: want a recording, or those of --trace with --output json or --log-format json", lines.Lines)
	}
	return nil
}

// redactMetadata removes the secret metadata of a recorded event.
func (o *Options) redactMetadata(e *trace.Event, isSecret func(name string) bool) {
	for i := range e.Metadata {
		if field := &e.Metadata[i]; !o.RecordSecrets && field.Name != recording.DetailsKey && isSecret(field.Name) {
			field.Value = trace.Redacted
		}
	}
}

// recorded returns the message or the details of a recorded event, which is that of l.
func (ms *messages) recorded(e *trace.Event, l *recording.Line) *text {
	t := ms.format(e)
	if t != nil {
		t.redacted = append(t.redacted, l.Redacted...)
		slices.Sort(t.redacted)
		t.redacted = slices.Compact(t.redacted)
	}
	return t
}

// growing is a file whose end is that of ctx.
type growing struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	io.Reader
	idle func() // called while there is nothing to read
}

func (g *growing) Read(p []byte) (int, error) {
	const interval = 100 * time.Millisecond
	for {
		n, err := g.Reader.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		g.idle()
		select {
		case <-time.After(interval):
		case <-g.ctx.Done():
			return 0, io.EOF
		}
	}
}

// parseEvent returns the event of a line and its message or details, nil if it has none.
func parseEvent(l *recording.Line) (*trace.Event, *text) {
	e := l.ToEvent()
	switch {
	case e == nil:
	case l.Status != nil:
		t := &text{note: l.Note}
		for _, detail := range l.Status.Details {
			t.details = append(t.details, string(detail))
		}
		return e, t
	case l.Size != nil:
		return e, &text{json: string(l.Message), unknown: l.Unknown, note: l.Note, schema: l.Schema == nil}
	}
	return e, nil
}
