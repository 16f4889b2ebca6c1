package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection/suggest"
)

// mistake is an error in the JSON of a message.
type mistake struct {
	text  string
	names []string // similar to the wrong one
}

func (m *mistake) Error() string { return m.text }

// Suggestion returns a question such as `did you mean "text"?`, for an error about a name
// that is similar to others. Otherwise it returns "".
func Suggestion(err error) string {
	m, ok := errors.AsType[*mistake](err)
	if !ok || len(m.names) == 0 {
		return ""
	}
	quoted := make([]string, len(m.names))
	for i, name := range m.names {
		quoted[i] = strconv.Quote(name)
	}
	return "did you mean " + strings.Join(quoted, " or ") + "?"
}

// explain returns an error that names the path of the field in text, its type and an example,
// and the line in text, from 0. err is protojson's.
func explain(text []byte, md protoreflect.MessageDescriptor, err error) (line int, _ error) {
	if offset := loneSurrogate(text); offset >= 0 {
		at := locate(text, offset)
		return lineOf(text, offset), &mistake{text: fmt.Sprintf("%s%s is half of a surrogate pair: the other half is missing", at.prefix(), text[offset:offset+6])}
	}
	err = message.TrimError(err)
	position := jsonPosition.FindStringSubmatch(err.Error())
	if position == nil {
		return 0, err
	}
	line, _ = strconv.Atoi(position[2])
	column, _ := strconv.Atoi(position[3])
	problem := err.Error()[len(position[0]):]
	at := locate(text, offsetOf(text, line, column))
	fd, isElement := at.field(md)
	switch {
	case strings.HasPrefix(problem, "unknown field "):
		return line - 1, &mistake{fmt.Sprintf("unknown field %q", at), suggest.Near(at.name(), at.siblings(md))}
	case len(at.path) == 0:
		return line - 1, &mistake{text: "want " + messageWanted(md).String() + at.found()}
	case fd == nil || strings.Contains(problem, " key"):
		return line - 1, &mistake{text: at.prefix() + problem}
	case isWrongValue.MatchString(problem):
		return line - 1, &mistake{at.prefix() + "want " + fieldWanted(fd, isElement).String() + at.found(), enumNames(fd, at.token)}
	}
	return line - 1, &mistake{text: at.prefix() + problem}
}

var (
	jsonPosition = regexp.MustCompile(`^(syntax error )?\(line (\d+):(\d+)\): `)
	isWrongValue = regexp.MustCompile(`^(unexpected token|invalid|google\.protobuf\.)`)
)

// enumNames returns the names of an enum that are similar to a string.
func enumNames(fd protoreflect.FieldDescriptor, token []byte) (names []string) {
	var wrong string
	if fd.Enum() == nil || json.Unmarshal(token, &wrong) != nil {
		return nil
	}
	for i := range fd.Enum().Values().Len() {
		names = append(names, string(fd.Enum().Values().Get(i).Name()))
	}
	return suggest.Near(wrong, names)
}

// lineOf returns the line of an offset in text, from 0.
func lineOf(text []byte, offset int) int { return bytes.Count(text[:offset], []byte{'\n'}) }

// offsetOf returns the offset of a line and column, both from 1, in text.
func offsetOf(text []byte, line, column int) int {
	offset := 0
	for range line - 1 {
		offset += bytes.IndexByte(text[offset:], '\n') + 1
	}
	for range column - 1 {
		_, size := utf8.DecodeRune(text[offset:])
		offset += size
	}
	return offset
}

// loneSurrogate returns the offset of an escape such as \ud800 that isn't half of a pair, -1
// if there is none. text is valid JSON: a backslash is in a string.
func loneSurrogate(text []byte) int {
	code := func(b []byte) uint64 {
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return 0
		}
		v, _ := strconv.ParseUint(string(b[2:6]), 16, 16)
		return v
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch c := code(text[i:]); {
		case c < 0xd800 || c > 0xdfff:
			i++ // the next byte may be a backslash
		case c < 0xdc00 && code(text[i+6:])&0xfc00 == 0xdc00:
			i += 11
		default:
			return i
		}
	}
	return -1
}
