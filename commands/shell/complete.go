package shell

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

// askingTime is what asking the server for names may take where somebody waits for
// something else.
const askingTime = 3 * time.Second

// Complete says how the text before the cursor may go on. It asks the server what
// isn't known yet, and has nothing to say if that fails.
func (s *Shell) Complete(text string) Completion {
	ctx, cancel := context.WithTimeout(context.Background(), askingTime)
	defer cancel()
	if st := s.open(); st != nil {
		return s.completeStream(st, text)
	}
	begin := len(text) - len(strings.TrimLeft(text, " \t"))
	line := text[begin:]
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return Completion{begin, words(line, commandNames())}
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

// lastWord is what a name is to be found for.
func lastWord(rest string) string { return rest[strings.LastIndexAny(rest, " \t")+1:] }

// words are candidates for a word among others.
func words(typed string, all []string) []Candidate {
	var candidates []Candidate
	for _, word := range all {
		if strings.HasPrefix(word, typed) {
			candidates = append(candidates, Candidate{Text: word + " "})
		}
	}
	return candidates
}

func completeWords(all ...string) func(*Shell, context.Context, string) []Candidate {
	return func(_ *Shell, _ context.Context, rest string) []Candidate {
		if rest != lastWord(rest) {
			return nil
		}
		return words(rest, all)
	}
}

// completeNames has symbols, whose names may be short.
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

func (s *Shell) completeCall(ctx context.Context, rest string) []Candidate {
	if rest != lastWord(rest) {
		return nil
	}
	return completeNames(reflection.Method)(s, ctx, rest)
}

func (s *Shell) completeUnset(ctx context.Context, rest string) []Candidate {
	var names []string
	for name := range s.Metadata {
		names = append(names, name)
	}
	slices.Sort(names)
	return completeWords(names...)(s, ctx, rest)
}

func (s *Shell) completeSet(_ context.Context, rest string) []Candidate {
	name, value, more := strings.Cut(rest, " ")
	switch {
	case !more:
		return words(name, strings.Split(optionNames(), ", "))
	case s.options()[name] != nil:
		return words(value, []string{"on", "off"})
	}
	return nil
}

// completeRequest completes the JSON of a call, if that is where text ends.
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

// completeStream completes a line inside a call.
func (s *Shell) completeStream(st *stream, text string) Completion {
	const send = ".send "
	switch {
	case strings.HasPrefix(text, send):
		return completeJSON(st.method.Input(), text, len(send))
	case strings.HasPrefix(text, "."):
		return Completion{0, words(text, []string{".send", ".close", ".cancel"})}
	}
	return completeJSON(st.method.Input(), text, 0)
}

// completeJSON completes messages of type md that begin at an offset of text.
func completeJSON(md protoreflect.MessageDescriptor, text string, begin int) Completion {
	p, ok := locate(text[begin:])
	if !ok {
		return Completion{}
	}
	c := Completion{Start: begin + p.start}
	switch {
	case p.top:
		c.Candidates = starting(p.typed, "{")
	case p.key:
		c.Candidates = completeField(md, p)
	default:
		c.Candidates = completeValue(md, p)
	}
	return c
}

func completeField(md protoreflect.MessageDescriptor, p place) []Candidate {
	md, entries := walk(md, p.path)
	if md == nil || entries != nil {
		return nil // such as the keys of a map: anything
	}
	var candidates []Candidate
	for _, f := range fieldsOf(md) {
		if slices.Contains(p.used, f.Name) || slices.Contains(p.used, f.Field.TextName()) {
			continue
		}
		if text := `"` + f.Name + `": `; strings.HasPrefix(text, p.typed) {
			candidates = append(candidates, Candidate{text, f.Name + "  " + f.Type})
		}
	}
	return candidates
}

func completeValue(md protoreflect.MessageDescriptor, p place) []Candidate {
	var f protoreflect.FieldDescriptor
	if md, entries := walk(md, p.path); entries != nil {
		f = entries.MapValue()
	} else if md != nil {
		f = field(md, p.field)
	}
	switch {
	case f == nil:
		return nil
	case f.IsList() && !p.element:
		return starting(p.typed, "[")
	case f.IsMap():
		return starting(p.typed, "{")
	case f.Kind() == protoreflect.BoolKind:
		return starting(p.typed, "true", "false")
	case f.Enum() != nil:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, `"`+string(f.Enum().Values().Get(i).Name())+`"`)
		}
		return starting(p.typed, names...)
	case f.Message() != nil && len(fieldsOf(f.Message())) > 0:
		return starting(p.typed, "{")
	case f.Kind() == protoreflect.StringKind:
		return starting(p.typed, `"`)
	}
	return nil
}

// starting are candidates among values.
func starting(typed string, values ...string) []Candidate {
	var candidates []Candidate
	for _, v := range values {
		if strings.HasPrefix(v, typed) && v != typed {
			candidates = append(candidates, Candidate{Text: v})
		}
	}
	return candidates
}

// walk follows names of fields, and of keys in maps, from md. It ends in a message, or
// among the entries of a map field; otherwise there is none.
func walk(md protoreflect.MessageDescriptor, path []string) (end protoreflect.MessageDescriptor, entries protoreflect.FieldDescriptor) {
	for _, name := range path {
		if entries != nil {
			md, entries = entries.MapValue().Message(), nil
		} else if f := field(md, name); f != nil && f.IsMap() {
			entries = f
		} else if f != nil {
			md = f.Message()
		} else {
			md = nil
		}
		if md == nil {
			return nil, nil
		}
	}
	return md, entries
}

// field returns a field by its name in JSON or in the .proto file, nil if there is none.
func field(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := md.Fields().ByJSONName(name); f != nil {
		return f
	}
	return md.Fields().ByTextName(name)
}
