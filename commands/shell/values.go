package shell

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/reflection/suggest"
)

// response is a response whose values later commands can use.
type response struct {
	message protoreflect.ProtoMessage
	types   reflection.TypeResolver
	names   bool // proto names
}

var (
	// jsonValue matches a value of the last response, such as $.list[0].name, or all of it.
	jsonValue = regexp.MustCompile(`^\$(?:\.[A-Za-z_]\w*|\[\d+\])*`)

	// headerValue matches one in metadata, where a lone $ is nothing special.
	headerValue = regexp.MustCompile(`\$(?:\.[A-Za-z_]\w*|\[\d+\])+`)

	// step matches one step of a path.
	step = regexp.MustCompile(`\.\w+|\[\d+\]`)
)

// setLast sets the last response.
func (s *Shell) setLast(r *response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
}

// expandJSON replaces values of the last response in JSON. It leaves strings alone.
func (s *Shell) expandJSON(ctx context.Context, text string) (string, error) {
	var b strings.Builder
	for {
		i := outsideStrings(text, "$")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		path := jsonValue.FindString(text[i:])
		value, err := s.value(ctx, path)
		if err != nil {
			return "", err
		}
		b.WriteString(text[:i])
		b.Write(value)
		text = text[i+len(path):]
	}
}

// expandHeader replaces values of the last response in the value of metadata.
func (s *Shell) expandHeader(ctx context.Context, value string) (string, error) {
	var failed error
	expanded := headerValue.ReplaceAllStringFunc(value, func(path string) string {
		v, err := s.value(ctx, path)
		text := string(v)
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case v[0] == '"':
			_ = json.Unmarshal(v, &text) // it is valid
		case v[0] == '{', v[0] == '[', text == "null":
			failed = errors.Join(failed, usagef("", "%s: not a string, a number or a bool, which metadata can have", path))
		}
		return text
	})
	return expanded, failed
}

// value returns the JSON of a value of the last response.
func (s *Shell) value(ctx context.Context, path string) (json.RawMessage, error) {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if last == nil {
		return nil, usagef("", "%s: there was no response yet", path)
	}
	text, err := message.Format(ctx, last.message, last.types, &message.Options{Compact: true, EmitDefaults: true, ProtoNames: last.names})
	if err != nil {
		return nil, err
	}
	value, done := json.RawMessage(text), "$"
	for _, step := range step.FindAllString(path, -1) {
		if value, err = member(value, done, step); err != nil {
			return nil, err
		}
		done += step
	}
	return value, nil
}

// member returns the value at a step from value, which is at path.
func member(value json.RawMessage, path, step string) (json.RawMessage, error) {
	if step[0] == '[' {
		var list []json.RawMessage
		i, err := strconv.Atoi(step[1 : len(step)-1])
		switch {
		case json.Unmarshal(value, &list) != nil:
			return nil, usagef("", "%s: %s is not a list in the last response", path+step, path)
		case err != nil || i >= len(list):
			return nil, usagef("", "%s: %s has %d elements in the last response", path+step, path, len(list))
		}
		return list[i], nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) != nil {
		return nil, usagef("", "%s: %s is not an object in the last response", path+step, path)
	}
	v, ok := object[step[1:]]
	if !ok {
		var names []string
		for name := range object {
			names = append(names, name)
		}
		return nil, usagef(didYouMean(path+".", suggest.Near(step[1:], names)), "%s: the last response has no such field", path+step)
	}
	return v, nil
}

// didYouMean returns a question with the names after prefix, "" if there are none.
func didYouMean(prefix string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + prefix + strings.Join(names, " or "+prefix) + "?"
}
