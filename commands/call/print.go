package call

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/reflection"
)

// Printer writes what happens in a call as grpcurl does.
type Printer struct {
	Out    io.Writer
	Types  reflection.TypeResolver // of the method; may be nil
	Format FormatOptions

	// Verbosity adds to the responses: 1 the method, metadata and counts, 2 sizes
	// and timings, too.
	Verbosity int

	// Printed is how many responses have been printed before: in text format, each
	// but the first begins with a record separator.
	Printed int
}

// Events has p write what happens. Messages come out one by one, each in one Write.
func (p *Printer) Events() *Events {
	e := &Events{Message: p.message}
	if p.Verbosity > 0 {
		e.Sending, e.Headers, e.End = p.sending, p.headers, p.end
	}
	return e
}

func (p *Printer) sending(m *Method, md metadata.MD) {
	if d, err := reflection.Describe(m.MethodDescriptor); err == nil {
		fmt.Fprintf(p.Out, "\nResolved method descriptor:\n%s\n", d.Text)
	}
	fmt.Fprintf(p.Out, "\nRequest metadata to send:\n%s\n", FormatMetadata(md))
}

func (p *Printer) headers(md metadata.MD) {
	fmt.Fprintf(p.Out, "\nResponse headers received:\n%s\n", FormatMetadata(md))
}

func (p *Printer) message(r *Response) error {
	text, err := FormatMessage(r.Message, p.Types, &p.Format)
	if err != nil {
		return fmt.Errorf("response %d: %w", r.Number, err)
	}
	var before string
	if p.Verbosity > 1 {
		before = "\nResponse size: " + sizes(r) + "\n"
	}
	if p.Verbosity > 0 {
		before += "\nResponse contents:\n"
	} else if p.Format.Format == Text && p.Printed > 0 {
		before = string(recordSeparator) // for another call to read
	}
	p.Printed++
	if _, err := io.WriteString(p.Out, before+text+"\n"); err != nil {
		return fmt.Errorf("write response %d: %w", r.Number, err)
	}
	return nil
}

func sizes(r *Response) string {
	if r.Wire == 0 {
		return fmt.Sprintf("%d bytes", r.Size)
	}
	return fmt.Sprintf("%d bytes, %d on the wire", r.Size, r.Wire)
}

func (p *Printer) end(r *Result) {
	fmt.Fprintf(p.Out, "\nResponse trailers received:\n%s\n", FormatMetadata(r.Trailers))
	fmt.Fprintf(p.Out, "Sent %s and received %s\n", count(r.Sent, "request"), count(r.Received, "response"))
	if p.Verbosity > 1 {
		p.timings(r)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// timings says what each of them measures.
func (p *Printer) timings(r *Result) {
	t := r.Timings
	fmt.Fprintln(p.Out, "Timings, from the beginning of the call:")
	if t.Headers > 0 {
		fmt.Fprintf(p.Out, "  until the headers came: %v\n", t.Headers)
	}
	if t.First > 0 {
		fmt.Fprintf(p.Out, "  until the first message came: %v\n", t.First)
	}
	fmt.Fprintf(p.Out, "  until the call had ended: %v\n", t.End)
	if w := r.Wire; w != (Wire{}) {
		fmt.Fprintf(p.Out, "Bytes on the wire: %d of messages sent; %d of headers, %d of messages and %d of trailers received\n",
			w.SentMessages, w.Headers, w.ReceivedMessages, w.Trailers)
	}
}

// Status writes a status that is not OK to w, with its details.
func (p *Printer) Status(w io.Writer, s *status.Status) {
	var b strings.Builder
	fmt.Fprintf(&b, "ERROR:\n  Code: %s\n  Message: %s\n", s.Code(), printable(s.Message()))
	format := p.Format
	format.Compact = false
	for i, detail := range s.Proto().GetDetails() {
		if i == 0 {
			b.WriteString("  Details:\n")
		}
		number := fmt.Sprintf("  %d)", i+1)
		text, err := FormatMessage(detail, p.Types, &format)
		if err != nil {
			text = fmt.Sprintf("%s: %v", detail.GetTypeUrl(), err)
		}
		indent := "\n" + strings.Repeat(" ", len(number)) + "\t"
		fmt.Fprintf(&b, "%s\t%s\n", number, strings.ReplaceAll(text, "\n", indent))
	}
	_, _ = io.WriteString(w, b.String())
}

// FormatMetadata writes md down, a line for each value, binary ones in base64.
func FormatMetadata(md metadata.MD) string {
	if len(md) == 0 {
		return "(empty)"
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(md)) {
		for _, value := range md[name] {
			lines = append(lines, name+": "+formatValue(name, value))
		}
	}
	return strings.Join(lines, "\n")
}

func formatValue(name, value string) string {
	if strings.HasSuffix(name, "-bin") {
		return base64.StdEncoding.EncodeToString([]byte(value))
	}
	return printable(value)
}

// printable is a peer's text without what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, s)
}
