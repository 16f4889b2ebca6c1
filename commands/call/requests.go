package call

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

// Format is how messages are written down.
type Format string

const (
	// JSON is ProtoJSON: one message after the other, with white space between
	// them where JSON needs it.
	JSON Format = "json"

	// Text is protobuf's text format, with the ASCII character record separator
	// (0x1E) between messages.
	Text Format = "text"
)

const recordSeparator = '\x1e'

// RequestError is a message that can't be sent.
type RequestError struct {
	Number int // of the message, from 1
	Line   int // of what is wrong, or where the message begins, from 1; 0 if unknown
	Err    error
}

func (e *RequestError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("message %d (line %d): %v", e.Number, e.Line, e.Err)
	}
	return fmt.Sprintf("message %d: %v", e.Number, e.Err)
}

func (e *RequestError) Unwrap() error { return e.Err }

// RequestOptions adjusts NewRequests. Its zero value and nil mean the defaults.
type RequestOptions struct {
	// AllowUnknownFields leaves out fields that the message doesn't have, in JSON.
	// Default: they are an error.
	AllowUnknownFields bool

	// OnBad is told of a message that is no good, and the next one is read instead,
	// from the next line on. Default: it ends the call.
	OnBad func(*RequestError)

	// Patient has More read on to find out; for what ends by itself, such as a
	// file. Default: More counts what has come already.
	Patient bool
}

// NewRequests reads messages from r, one when it's needed and none ahead: but for what
// a read yields beyond it. Without any text JSON has no message, and Text one that is
// empty. types may be nil.
func NewRequests(r io.Reader, format Format, types reflection.TypeResolver, opts *RequestOptions) Requests {
	if opts == nil {
		opts = &RequestOptions{}
	}
	q := &reader{opts: *opts, types: types}
	if q.types == nil {
		q.types = (*reflection.Set)(nil).Types()
	}
	lines := &lineCounter{r: r}
	if format == Text {
		q.parse, q.split = q.parseText, &textSplitter{r: bufio.NewReader(lines), lines: lines}
	} else {
		q.parse, q.split = q.parseJSON, &jsonSplitter{r: lines, dec: json.NewDecoder(lines), lines: lines}
	}
	return q
}

// reader is the Requests that are read.
type reader struct {
	opts   RequestOptions
	types  reflection.TypeResolver
	parse  func([]byte, protoreflect.ProtoMessage) error
	split  splitter
	number int       // messages so far
	coming chan item // of a read that goes on; nil: none does
}

// splitter finds where messages begin and end.
type splitter interface {
	// next returns the text of the next message. Its errors are those of reading
	// and of syntax.
	next() item

	// skip goes on behind an error of syntax, at the next line.
	skip()

	// buffered returns what has been read beyond the last message.
	buffered() []byte
}

type item struct {
	text []byte
	line int
	err  error
	bad  bool // err is one of syntax
}

func (q *reader) Next(ctx context.Context, m protoreflect.ProtoMessage) error {
	for {
		it, err := q.read(ctx)
		if err != nil {
			return err
		}
		if it.err != nil && !it.bad {
			return it.err
		}
		q.number++
		bad := &RequestError{q.number, it.line, it.err}
		if !it.bad {
			if err = q.parse(it.text, m); err == nil {
				return nil
			}
			below, err := locate(err)
			bad.Line, bad.Err = it.line+below, err
		}
		if q.opts.OnBad == nil {
			return bad
		}
		q.opts.OnBad(bad)
		if it.bad {
			q.split.skip()
		}
		m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			m.ProtoReflect().Clear(f)
			return true
		})
	}
}

// read reads the next item. When ctx ends, the read goes on: the next call of read has
// what comes of it.
func (q *reader) read(ctx context.Context) (item, error) {
	if q.coming == nil {
		q.coming = make(chan item, 1)
		go func(to chan<- item) { to <- q.split.next() }(q.coming)
	}
	select {
	case it := <-q.coming:
		q.coming = nil
		return it, nil
	case <-ctx.Done():
		return item{}, context.Cause(ctx)
	}
}

func (q *reader) More() bool {
	if q.opts.Patient {
		it := q.split.next()
		return !errors.Is(it.err, io.EOF)
	}
	return len(bytes.TrimSpace(q.split.buffered())) > 0
}

func (q *reader) parseJSON(text []byte, m protoreflect.ProtoMessage) error {
	return plain(protojson.UnmarshalOptions{Resolver: q.types, DiscardUnknown: q.opts.AllowUnknownFields}.Unmarshal(text, m))
}

func (q *reader) parseText(text []byte, m protoreflect.ProtoMessage) error {
	return plain(prototext.UnmarshalOptions{Resolver: q.types}.Unmarshal(text, m))
}

// plain is an error of protobuf's without the prefix, whose blank is one of two.
func plain(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "proto:")
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	return errors.New(strings.ReplaceAll(text, "\u00a0", " "))
}

// position is where protobuf says that an error is, from the beginning of the message.
var position = regexp.MustCompile(`^(syntax error )?\(line (\d+):\d+\): `)

// locate tells an error of protobuf's from how many lines into the message it is.
func locate(err error) (below int, _ error) {
	text := err.Error()
	at := position.FindStringSubmatch(text)
	if at == nil {
		return 0, err
	}
	text = text[len(at[0]):]
	if at[1] != "" {
		text = "syntax error: " + text
	}
	line, _ := strconv.Atoi(at[2])
	return line - 1, errors.New(text)
}

// jsonSplitter splits JSON values.
type jsonSplitter struct {
	r     io.Reader
	dec   *json.Decoder
	lines *lineCounter
	base  int64 // where dec began
}

func (s *jsonSplitter) next() item {
	var text json.RawMessage
	err := s.dec.Decode(&text)
	if err == nil {
		return item{text: text, line: s.lines.at(s.base + s.dec.InputOffset() - int64(len(text)))}
	}
	rest := s.buffered()
	blank := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
	it := item{err: err, line: s.lines.at(s.base + s.dec.InputOffset() + int64(blank))}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		it.bad = true
	}
	return it
}

func (s *jsonSplitter) skip() {
	rest := bufio.NewReader(io.MultiReader(s.dec.Buffered(), s.r))
	s.base += s.dec.InputOffset()
	for {
		line, err := rest.ReadString('\n')
		s.base += int64(len(line))
		if err != nil || strings.TrimSpace(line) != "" {
			break // what is wrong shows in the next read
		}
	}
	s.r = rest
	s.dec = json.NewDecoder(rest)
}

func (s *jsonSplitter) buffered() []byte {
	data, _ := io.ReadAll(s.dec.Buffered()) // from memory
	return data
}

// textSplitter splits at record separators.
type textSplitter struct {
	r     *bufio.Reader
	lines *lineCounter
	read  int64
	end   error
}

func (s *textSplitter) next() item {
	if s.end != nil {
		return item{err: s.end}
	}
	line := s.lines.at(s.read)
	text, err := s.r.ReadBytes(recordSeparator)
	s.read += int64(len(text))
	if err != nil && !errors.Is(err, io.EOF) {
		return item{err: err}
	}
	s.end = err
	return item{text: bytes.TrimSuffix(text, []byte{recordSeparator}), line: line}
}

func (s *textSplitter) skip() {}

func (s *textSplitter) buffered() []byte {
	data, _ := s.r.Peek(s.r.Buffered()) // from memory
	return data
}

// lineCounter knows which line what is read is on.
type lineCounter struct {
	r      io.Reader
	read   int64
	line   int     // that offset 0, or the last one asked for, is on, from 0
	breaks []int64 // where the lines after it begin
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.breaks = append(c.breaks, c.read+int64(i)+1)
		}
	}
	c.read += int64(n)
	return n, err
}

// at returns the line of an offset, from 1. Offsets must not go back.
func (c *lineCounter) at(offset int64) int {
	for len(c.breaks) > 0 && c.breaks[0] <= offset {
		c.breaks = c.breaks[1:]
		c.line++
	}
	return c.line + 1
}
