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

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

const recordSeparator = '\x1e'

// RequestError is the error for a message that can't be sent.
type RequestError struct {
	Number int // of the message, from 1
	Line   int // of the mistake, or else of the message, from 1; 0 if unknown
	Err    error
}

func (e *RequestError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("message %d (line %d): %v", e.Number, e.Line, e.Err)
	}
	return fmt.Sprintf("message %d: %v", e.Number, e.Err)
}

func (e *RequestError) Unwrap() error { return e.Err }

// RequestOptions are the options of NewRequests. Nil means the defaults.
type RequestOptions struct {
	// AllowUnknownFields ignores unknown fields in JSON. Default: they are an error.
	AllowUnknownFields bool

	// OnInvalid is called for an invalid message. Next then continues at the next
	// line. Default: Next returns the error, which ends the call.
	OnInvalid func(*RequestError)

	// ReadAhead makes More read another message from r, which may block. Set it for a
	// reader that ends by itself, such as a file. Default: More looks only at the
	// buffered input.
	ReadAhead bool
}

// NewRequests returns the messages in r. Next reads only as far as needed for one
// message, apart from the rest of the last Read. Empty input has no messages in JSON, and
// one empty message in Text. types may be nil.
func NewRequests(r io.Reader, encoding message.Encoding, types reflection.TypeResolver, opts *RequestOptions) Requests {
	if opts == nil {
		opts = &RequestOptions{}
	}
	q := &reader{opts: *opts, types: types}
	if q.types == nil {
		q.types = (*reflection.Set)(nil).Types()
	}
	lines := &lineCounter{r: r}
	if encoding == message.Text {
		q.parse, q.split = q.parseText, &textSplitter{r: bufio.NewReader(lines), lines: lines}
	} else {
		q.parse, q.split = q.parseJSON, &jsonSplitter{r: lines, dec: json.NewDecoder(lines), lines: lines}
	}
	return q
}

// reader is the Requests of NewRequests.
type reader struct {
	opts    RequestOptions
	types   reflection.TypeResolver
	parse   func([]byte, protoreflect.ProtoMessage) (line int, _ error) // of the mistake, from 0
	split   splitter
	number  int       // messages so far
	pending chan item // of a read in progress; nil if there is none
}

// splitter finds where messages begin and end.
type splitter interface {
	// next returns the text of the next message, or an error of the reader or of
	// syntax.
	next() item

	// skip continues at the next line after a syntax error.
	skip()

	// buffered returns the text read beyond the last message.
	buffered() []byte
}

type item struct {
	text    []byte
	line    int
	err     error
	invalid bool // err is a syntax error
}

func (q *reader) Next(ctx context.Context, m protoreflect.ProtoMessage) error {
	for {
		it, err := q.read(ctx)
		if err != nil {
			return err
		}
		if it.err != nil && !it.invalid {
			return it.err
		}
		q.number++
		invalid := &RequestError{q.number, it.line, it.err}
		if !it.invalid {
			line, err := q.parse(it.text, m)
			if err == nil {
				return nil
			}
			invalid.Line, invalid.Err = it.line+line, err
		}
		if q.opts.OnInvalid == nil {
			return invalid
		}
		q.opts.OnInvalid(invalid)
		if it.invalid {
			q.split.skip()
		}
		m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			m.ProtoReflect().Clear(f)
			return true
		})
	}
}

// read reads the next item. If ctx ends first, the read continues, and the next call of
// read returns its result.
func (q *reader) read(ctx context.Context) (item, error) {
	if q.pending == nil {
		q.pending = make(chan item, 1)
		go func(to chan<- item) { to <- q.split.next() }(q.pending)
	}
	select {
	case it := <-q.pending:
		q.pending = nil
		return it, nil
	case <-ctx.Done():
		return item{}, context.Cause(ctx)
	}
}

func (q *reader) More() bool {
	if q.opts.ReadAhead {
		it := q.split.next()
		return !errors.Is(it.err, io.EOF)
	}
	return len(bytes.TrimSpace(q.split.buffered())) > 0
}

func (q *reader) parseJSON(text []byte, m protoreflect.ProtoMessage) (line int, _ error) {
	err := protojson.UnmarshalOptions{Resolver: q.types, DiscardUnknown: q.opts.AllowUnknownFields}.Unmarshal(text, m)
	if err == nil {
		return 0, nil
	}
	return explain(text, m.ProtoReflect().Descriptor(), err)
}

func (q *reader) parseText(text []byte, m protoreflect.ProtoMessage) (line int, _ error) {
	err := prototext.UnmarshalOptions{Resolver: q.types}.Unmarshal(text, m)
	if err == nil {
		return 0, nil
	}
	err = message.TrimError(err)
	at := textPosition.FindStringSubmatch(err.Error())
	if at == nil {
		return 0, err
	}
	problem := err.Error()[len(at[0]):]
	if at[1] != "" {
		problem = "syntax error: " + problem
	}
	line, _ = strconv.Atoi(at[2])
	return line - 1, errors.New(problem)
}

// textPosition matches the position in an error of prototext.
var textPosition = regexp.MustCompile(`^(syntax error )?\(line (\d+):\d+\): `)

// jsonSplitter splits JSON values.
type jsonSplitter struct {
	r     io.Reader
	dec   *json.Decoder
	lines *lineCounter
	base  int64 // offset of dec's input
}

func (s *jsonSplitter) next() item {
	var text json.RawMessage
	err := s.dec.Decode(&text)
	if err == nil {
		return item{text: text, line: s.lines.at(s.base + s.dec.InputOffset() - int64(len(text)))}
	}
	rest := s.buffered()
	space := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
	it := item{err: err, line: s.lines.at(s.base + s.dec.InputOffset() + int64(space))}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		it.invalid = true
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
			break // the next read returns a read error again
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
	read  int64 // bytes
	end   error // io.EOF after the last message
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

// lineCounter converts offsets in r to line numbers.
type lineCounter struct {
	r      io.Reader
	read   int64   // bytes
	line   int     // of the last offset passed to at, from 0
	starts []int64 // offsets of the lines after it
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.starts = append(c.starts, c.read+int64(i)+1)
		}
	}
	c.read += int64(n)
	return n, err
}

// at returns the line of an offset, from 1. Offsets must not decrease.
func (c *lineCounter) at(offset int64) int {
	for len(c.starts) > 0 && c.starts[0] <= offset {
		c.starts = c.starts[1:]
		c.line++
	}
	return c.line + 1
}
