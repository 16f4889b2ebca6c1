package call

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// Printer writes the events of a call in grpcurl's format.
type Printer struct {
	Out    io.Writer
	Types  reflection.TypeResolver // of the method; may be nil
	Format message.Options

	// Verbosity adds output: 1 the method, metadata and counts, 2 also sizes and
	// timings. Default: only responses.
	Verbosity int

	// Colors are those of JSON on Out, StatusColors those of statuses. Default: none.
	Colors, StatusColors terminal.Colors

	// Timestamps puts the time of its arrival before each response, in the text format as
	// a comment.
	Timestamps bool

	// Secrets are masked in metadata, descriptors and statuses, but not in responses.
	// Default: none.
	Secrets *escape.Secrets

	// Printed counts the responses printed so far, also by earlier Printers. In text
	// format, all but the first begin with a record separator.
	Printed int
}

// NoteOnce returns a Note for [message.Options] that writes a line to w for the first
// message with a note.
func NoteOnce(w io.Writer) func(reason string) {
	var once sync.Once
	return func(reason string) {
		once.Do(func() {
			fmt.Fprintf(w, "wstun: note: %s; wstun man describes the form of such values\n", escape.Line(reason))
		})
	}
}

// Events returns the Events that p writes. It writes each message in one Write
// unless it is longer than 64 KiB.
func (p *Printer) Events() *Events {
	e := &Events{Message: p.message}
	if p.Verbosity > 0 {
		e.Sending, e.Headers, e.End = p.sending, p.headers, p.end
	}
	return e
}

func (p *Printer) sending(ctx context.Context, m *Method, md metadata.MD) {
	if d, err := reflection.Describe(ctx, m.MethodDescriptor); err == nil {
		p.printf("\nResolved method descriptor:\n%s\n", d.Text)
	}
	p.printf("\nRequest metadata to send:\n%s\n", FormatMetadata(md))
}

func (p *Printer) headers(md metadata.MD) {
	p.printf("\nResponse headers received:\n%s\n", FormatMetadata(md))
}

func (p *Printer) message(ctx context.Context, r *Response) error {
	text, err := message.Format(ctx, r.Message, p.Types, &p.Format)
	if err != nil {
		return fmt.Errorf("response %d: %w", r.Number, err)
	}
	var before string
	if p.Verbosity > 1 {
		before = "\nResponse size: " + describeSize(r) + "\n"
	}
	if p.Verbosity > 0 {
		before += "\nResponse contents:\n"
	} else if p.Format.Encoding == message.Text && p.Printed > 0 {
		before = string(recordSeparator) // so that the output can be the input of a call
	}
	p.Printed++
	if p.Timestamps {
		before += p.timestamp(r.Time)
	}
	if p.Format.Encoding != message.Text {
		text = p.Colors.JSON(text)
	}
	if err := Write(ctx, p.Out, before+text+"\n"); err != nil {
		_, _ = io.WriteString(p.Out, p.Colors.Reset()) // the text may have been cut
		return fmt.Errorf("write response %d: %w", r.Number, err)
	}
	return nil
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// timestamp returns the text for a time, before a response.
func (p *Printer) timestamp(t time.Time) string {
	if p.Format.Encoding == message.Text {
		return "# " + t.Format(timeFormat) + "\n"
	}
	return p.Colors.Paint(terminal.Dim, t.Format(timeFormat)) + " "
}

// maxWrite is the size of the longest text that is written in one Write, in bytes.
const maxWrite = 64 * 1024

// Write writes text to w. If ctx ends before the last 64 KiB are written, it returns the
// cause: a terminal may take minutes for a long text.
func Write(ctx context.Context, w io.Writer, text string) error {
	for len(text) > maxWrite {
		part := text[:maxWrite]
		if i := strings.LastIndexByte(part, '\n'); i >= 0 {
			part = part[:i+1] // a terminal may show its prompt after it
		}
		if _, err := io.WriteString(w, part); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text = text[len(part):]
	}
	_, err := io.WriteString(w, text)
	return err
}

// printf writes text other than responses.
func (p *Printer) printf(format string, args ...any) {
	_, _ = io.WriteString(p.Out, p.clean(fmt.Sprintf(format, args...)))
}

// clean masks the secrets in text and escapes it.
func (p *Printer) clean(text string) string { return escape.Text(p.Secrets.Mask(text)) }

func describeSize(r *Response) string {
	if r.Wire == 0 {
		return fmt.Sprintf("%d bytes", r.Size)
	}
	return fmt.Sprintf("%d bytes, %d on the wire", r.Size, r.Wire)
}

func (p *Printer) end(_ context.Context, r *Result) {
	p.printf("\nResponse trailers received:\n%s\n", FormatMetadata(r.Trailers))
	p.printf("Sent %s and received %s\n", count(r.Sent, "request"), count(r.Received, "response"))
	if p.Verbosity > 1 {
		p.timings(r)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// timings writes the timings, and the sizes on the wire if known.
func (p *Printer) timings(r *Result) {
	t := r.Timings
	p.printf("Timings since the start of the call:\n")
	if t.Headers > 0 {
		p.printf("  headers received: %v\n", t.Headers)
	}
	if t.First > 0 {
		p.printf("  first message received: %v\n", t.First)
	}
	p.printf("  call ended: %v\n", t.End)
	if w := r.Wire; w != (Wire{}) {
		p.printf("Bytes on the wire: %d of messages sent; %d of headers, %d of messages and %d of trailers received\n",
			w.SentMessages, w.Headers, w.ReceivedMessages, w.Trailers)
	}
}

// Status writes a status other than OK, with its details, to w, which is not escaped
// again.
func (p *Printer) Status(ctx context.Context, w io.Writer, s *status.Status) {
	var b strings.Builder
	begin := "ERROR:\n  Code: " + s.Code().String()
	fmt.Fprintf(&b, "\n  Message: %s\n", escape.Line(s.Message()))
	format := p.Format
	format.Compact = false
	format.MaxSize = message.DefaultMaxSize / max(len(s.Proto().GetDetails()), 1)
	for i, detail := range s.Proto().GetDetails() {
		if i == 0 {
			b.WriteString("  Details:\n")
		}
		number := fmt.Sprintf("  %d)", i+1)
		text, err := message.Format(ctx, detail, p.Types, &format)
		if err != nil {
			text = escape.Line(fmt.Sprintf("%s: %v", detail.GetTypeUrl(), err))
		}
		indent := "\n" + strings.Repeat(" ", len(number)) + "\t"
		fmt.Fprintf(&b, "%s\t%s\n", number, strings.ReplaceAll(text, "\n", indent))
	}
	_, _ = io.WriteString(w, p.StatusColors.Paint(terminal.Red, begin)+p.clean(b.String()))
}

// FormatMetadata formats md, with one escaped line for each value. It writes binary values
// in base64.
func FormatMetadata(md metadata.MD) string {
	if len(md) == 0 {
		return "(empty)"
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(md)) {
		for _, value := range md[name] {
			lines = append(lines, escape.Line(name+": "+formatValue(name, value)))
		}
	}
	return strings.Join(lines, "\n")
}

func formatValue(name, value string) string {
	if strings.HasSuffix(name, "-bin") {
		return base64.StdEncoding.EncodeToString([]byte(value))
	}
	return value
}
