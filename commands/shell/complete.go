package shell

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// lookupTimeout bounds requests to the server's reflection that the user hasn't asked
// for, such as those for completion.
const lookupTimeout = 3 * time.Second

// Complete returns the completion of text, the last line up to the cursor. It may ask the
// server's reflection, for at most three seconds, and returns no candidates if that fails.
// It leaves out those with secrets or with characters that [escape.Line] escapes.
func (s *Shell) Complete(text string) Completion {
	s.mu.Lock()
	before := string(s.partial)
	s.mu.Unlock()
	c := s.complete(before + text)
	c.Start = max(c.Start-len(before), 0)
	c.Candidates = slices.DeleteFunc(c.Candidates, func(c Candidate) bool {
		return escape.Line(s.Secrets.Mask(c.Text)) != c.Text || escape.Line(s.Secrets.Mask(c.Label)) != c.Label
	})
	return c
}

func (s *Shell) complete(text string) Completion {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if st := s.currentStream(); st != nil {
		return s.completeInStream(st, text)
	}
	begin := len(text) - len(strings.TrimLeft(text, " \t"))
	line := text[begin:]
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return Completion{begin, completeCommand(line)}
	}
	name, rest := line[:i], line[i+1:]
	c, ok := findCommand(name)
	if !ok || c.complete == nil {
		return Completion{}
	}
	if c.name == "call" {
		if completion, ok := s.completeRequest(ctx, text, rest); ok {
			return completion
		}
	}
	start := strings.LastIndexAny(text, " \t") + 1
	return Completion{start, c.complete(s, ctx, rest)}
}

// completeCommand completes a command's name, or an alias if it can only be that.
func completeCommand(typed string) []Candidate {
	var names, aliases []string
	for _, c := range commands() {
		names, aliases = append(names, c.name), append(aliases, c.alias)
	}
	if candidates := matchWords(typed, names); candidates != nil {
		return candidates
	}
	return matchWords(typed, aliases)
}

// lastWord returns the part of rest after the last space or tab.
func lastWord(rest string) string { return rest[strings.LastIndexAny(rest, " \t")+1:] }

// matchWords returns a candidate for each word in all that begins with typed: the word
// and a space.
func matchWords(typed string, all []string) []Candidate {
	var candidates []Candidate
	for _, word := range all {
		if strings.HasPrefix(word, typed) {
			candidates = append(candidates, Candidate{Text: word + " "})
		}
	}
	return candidates
}

// completeWords returns a completion function for a command with one argument, which is
// a word in all.
func completeWords(all ...string) func(*Shell, context.Context, string) []Candidate {
	return func(_ *Shell, _ context.Context, rest string) []Candidate {
		if rest != lastWord(rest) {
			return nil
		}
		return matchWords(rest, all)
	}
}

// completeNames returns a completion function for commands with any number of arguments,
// which are full or short names of symbols of a kind.
func completeNames(kind reflection.Kind) func(*Shell, context.Context, string) []Candidate {
	return func(s *Shell, ctx context.Context, rest string) []Candidate {
		names, err := s.Target.Catalog.Symbols(ctx, kind)
		if err != nil {
			return nil
		}
		var candidates []Candidate
		for _, c := range reflection.Complete(lastWord(rest), names) {
			candidates = append(candidates, Candidate{Text: c.Text + " "})
		}
		return candidates
	}
}

// completeMethod completes the METHOD of call. completeRequest completes the rest.
func (s *Shell) completeMethod(ctx context.Context, rest string) []Candidate {
	if rest != lastWord(rest) {
		return nil
	}
	return completeNames(reflection.Method)(s, ctx, rest)
}

// completeUnset completes the name of metadata that is set.
func (s *Shell) completeUnset(ctx context.Context, rest string) []Candidate {
	var names []string
	for name := range s.Metadata {
		names = append(names, name)
	}
	slices.Sort(names)
	return completeWords(names...)(s, ctx, rest)
}

// completeSet completes the option, and then on or off.
func (s *Shell) completeSet(_ context.Context, rest string) []Candidate {
	name, value, more := strings.Cut(rest, " ")
	switch {
	case !more:
		return matchWords(name, strings.Split(optionNames(), ", "))
	case s.options()[name] != nil:
		return matchWords(value, []string{"on", "off"})
	}
	return nil
}

// completeRequest completes the JSON after call METHOD, of which rest is the part after
// call. It returns false if rest has no space after METHOD, and no candidates if METHOD is
// unknown.
func (s *Shell) completeRequest(ctx context.Context, text, rest string) (Completion, bool) {
	rest = strings.TrimLeft(rest, " \t")
	i := strings.IndexAny(rest, " \t")
	if i < 0 {
		return Completion{}, false
	}
	m, err := s.Target.Method(ctx, rest[:i])
	if err != nil {
		return Completion{}, true
	}
	return completeJSON(m.Input(), text, len(text)-len(rest)+i+1), true
}

// completeInStream completes a line inside a call.
func (s *Shell) completeInStream(st *stream, text string) Completion {
	const send = ".send "
	switch {
	case strings.HasPrefix(text, send):
		return completeJSON(st.method.Input(), text, len(send))
	case strings.HasPrefix(text, "."):
		return Completion{0, matchWords(text, dotCommands)}
	}
	return completeJSON(st.method.Input(), text, 0)
}

// completeJSON completes JSON messages of type md, which begin at the offset begin of text.
func completeJSON(md protoreflect.MessageDescriptor, text string, begin int) Completion {
	cur, ok := findCursor(text[begin:])
	if !ok {
		return Completion{}
	}
	c := Completion{Start: begin + cur.start}
	switch {
	case cur.top:
		c.Candidates = matchValues(cur.typed, "{")
	case cur.key:
		c.Candidates = completeField(md, cur)
	default:
		c.Candidates = completeValue(md, cur)
	}
	return c
}

// completeField completes the name of a field, with a colon after it.
func completeField(md protoreflect.MessageDescriptor, cur jsonCursor) []Candidate {
	md, mapField := walk(md, cur.path)
	if md == nil || mapField != nil {
		return nil // the keys of a map can be anything
	}
	var candidates []Candidate
	for _, f := range jsonFields(md) {
		if slices.Contains(cur.used, f.Name) || slices.Contains(cur.used, f.Field.TextName()) {
			continue
		}
		if text := `"` + f.Name + `": `; strings.HasPrefix(text, cur.typed) {
			candidates = append(candidates, Candidate{text, f.Name + "  " + f.Type})
		}
	}
	return candidates
}

// completeValue completes a bool or an enum value. For other types it returns the character
// that a value begins with, if that is certain.
func completeValue(md protoreflect.MessageDescriptor, cur jsonCursor) []Candidate {
	var f protoreflect.FieldDescriptor
	if md, mapField := walk(md, cur.path); mapField != nil {
		f = mapField.MapValue()
	} else if md != nil {
		f = field(md, cur.field)
	}
	switch {
	case f == nil:
		return nil
	case f.IsList() && !cur.element:
		return matchValues(cur.typed, "[")
	case f.IsMap():
		return matchValues(cur.typed, "{")
	case f.Kind() == protoreflect.BoolKind:
		return matchValues(cur.typed, "true", "false")
	case f.Enum() != nil:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, `"`+string(f.Enum().Values().Get(i).Name())+`"`)
		}
		return matchValues(cur.typed, names...)
	case f.Message() != nil && len(jsonFields(f.Message())) > 0:
		return matchValues(cur.typed, "{")
	case f.Kind() == protoreflect.StringKind:
		return matchValues(cur.typed, `"`)
	}
	return nil
}

// matchValues returns the values that begin with typed and are longer.
func matchValues(typed string, values ...string) []Candidate {
	var candidates []Candidate
	for _, v := range values {
		if strings.HasPrefix(v, typed) && v != typed {
			candidates = append(candidates, Candidate{Text: v})
		}
	}
	return candidates
}

// walk follows path, which has names of fields and keys of maps, from md. If the path ends
// at a map, it returns the map's field, too. It returns nil, nil if there is no such path.
func walk(md protoreflect.MessageDescriptor, path []string) (end protoreflect.MessageDescriptor, mapField protoreflect.FieldDescriptor) {
	for _, name := range path {
		if mapField != nil {
			md, mapField = mapField.MapValue().Message(), nil
		} else if f := field(md, name); f != nil && f.IsMap() {
			mapField = f
		} else if f != nil {
			md = f.Message()
		} else {
			md = nil
		}
		if md == nil {
			return nil, nil
		}
	}
	return md, mapField
}

// field returns the field of md with a JSON or .proto name, nil if there is none.
func field(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := md.Fields().ByJSONName(name); f != nil {
		return f
	}
	return md.Fields().ByTextName(name)
}

// jsonFields returns the fields that md's JSON form has: none for the well-known types,
// whose JSON form isn't an object with their fields.
func jsonFields(md protoreflect.MessageDescriptor) []call.Field {
	if md.ParentFile().Package() == "google.protobuf" {
		return nil
	}
	return call.Fields(md)
}
