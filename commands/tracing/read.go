package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// CheckPrint checks the flags as Print does.
func (o *Options) CheckPrint() error {
	o.Trace = true
	_, err := o.check()
	return err
}

// Print prints the events that r has in JSON, a recording or the trace of a command with
// --output json, and ignores other lines. It returns when r ends, with its error, or when
// ctx has ended and r returns. With follow, r ends with ctx: it is a file that grows, also as
// another file with its name, or the bytes that another process sends. If there are no events at all, the error says so. With
// --record, it records the events instead.
func (o *Options) Print(ctx context.Context, r io.Reader, follow bool, out *Output) error {
	o.Trace = true
	learned := &Learned{}
	out.Catalog, out.Learned = reflection.NewCatalog(learned), learned
	filter, err := o.check()
	if err != nil {
		return err
	}
	var f *follower
	if follow {
		idle := func() {
			if f != nil {
				f.Flush(time.Now())
			}
		}
		if _, ok := r.(*os.File); ok {
			g := &growing{ctx: ctx, Reader: r, idle: idle}
			defer g.close()
			r = g
		} else {
			r = newLive(ctx, r, idle)
		}
	}
	lines := recording.NewReader(r)
	l, err := first(lines)
	switch needBytes := o.records() || len(o.Redact) > 0; {
	case needBytes && err == nil && lines.Version == 0:
		return errors.New("no recording: these events lack the bytes of messages, which --record and --redact need")
	case o.records() && errors.Is(err, io.EOF):
		return recording.ErrNotRecording
	case o.records() && err == nil:
		f, _, err = o.newFileRecorder(ctx, out, filter)
	default:
		f, _ = o.newFollower(out, filter)
	}
	found := false
	if err == nil {
		f.messages.forget = f.messages.schema.forget
		found, err = o.follow(ctx, f, learned, lines, l, out)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.Close()
	if s := &f.summary; o.records() && len(filter) > 0 && s.ok+s.failed+s.open == 0 {
		out.Logger.Warn("none of the calls fulfils --filter")
	}
	if !found && lines.Lines > 0 && lines.Version == 0 {
		return fmt.Errorf("no events in %d lines: want a recording, or those of --trace with --output json or --log-format json", lines.Lines)
	}
	return nil
}

// first returns the first line of a recording, or with an event.
func first(lines *recording.Reader) (*recording.Line, error) {
	for {
		l, err := lines.Next()
		if err != nil || lines.Version > 0 || l.ToEvent() != nil {
			return l, err
		}
	}
}

// follow passes l and later lines on to f until the error of Next, or the end of ctx. It
// reports whether there was an event.
func (o *Options) follow(ctx context.Context, f *follower, learned *Learned, lines *recording.Reader, l *recording.Line, out *Output) (found bool, err error) {
	isSecret := o.isSecret(out)
	for ; err == nil && ctx.Err() == nil; l, err = lines.Next() {
		if l.Event == recording.SchemaLine && learned.AddSet(l.Files) {
			f.messages.schema.forget()
		}
		e, t := parseEvent(l)
		if e == nil {
			continue
		}
		found = true
		f.Flush(e.Time) // the calls that were open at that time
		if lines.Version > 0 {
			o.redactMetadata(e, isSecret)
			f.event(e, func() *text { return f.messages.recorded(context.Background(), e, l) }) //nolint:contextcheck // it has its own limit
		} else {
			f.event(e, func() *text { return t })
		}
		f.flush()
	}
	return found, err
}

// redactMetadata removes the secret metadata of a recorded event.
func (o *Options) redactMetadata(e *trace.Event, isSecret func(name string) bool) {
	for i := range e.Metadata {
		field := &e.Metadata[i]
		field.Sensitive = field.Name != recording.DetailsKey && (field.Sensitive || isSecret(field.Name))
		if field.Sensitive && !o.RecordSecrets {
			field.Value = trace.Redacted
		}
	}
}

// recorded returns the message or the details of a recorded event, which is that of l.
func (ms *messages) recorded(ctx context.Context, e *trace.Event, l *recording.Line) *text {
	t := ms.format(ctx, e)
	if t != nil {
		t.redacted = append(t.redacted, l.Redacted...)
		slices.Sort(t.redacted)
		t.redacted = slices.Compact(t.redacted)
	}
	return t
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
