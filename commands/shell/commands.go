package shell

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/reflection/suggest"
	"github.com/wstun/wstun/tunnel/escape"
)

// command is a command of the shell. rest is the line after the command's name.
type command struct {
	name, alias string // alias may be empty
	args, help  string
	run         func(s *Shell, ctx context.Context, rest string) error
	complete    func(s *Shell, ctx context.Context, rest string) []Candidate // for the last word of rest; nil: no completion
}

// commands returns all commands, in the order of help.
func commands() []command {
	return []command{
		{"ls", "list", "[SERVICE]", "list the services, or the methods of one", (*Shell).ls, completeNames(reflection.Service)},
		{"desc", "describe", "[SYMBOL…]", "describe services, methods, messages and other symbols,\nmessages with --msg-template also filled in", (*Shell).desc, completeNames(reflection.Any)},
		{"call", "", "METHOD [JSON…] [> FILE]", "call a method with these messages; without JSON, send an\nempty message or, if METHOD takes a stream, the next lines;\n> writes the responses to FILE, >> appends them", (*Shell).call, (*Shell).completeMethod},
		{"header", "", "[NAME: VALUE]", "send this metadata with each call, or list the metadata", (*Shell).header, nil},
		{"unset", "", "NAME", "stop sending this metadata", (*Shell).unset, (*Shell).completeUnset},
		{"set", "", "[OPTION on|off]", "turn an option on or off, or list the options:\n" + optionNames() + ";\nset -e and set +e turn errexit on and off, which ends a\nscript at the first command that fails", (*Shell).set, (*Shell).completeSet},
		{"time", "", "on|off", "turn on or off the printing of how long each call takes", (*Shell).time, completeWords("on", "off")},
		{"clear", "", "", "clear the screen", (*Shell).clear, nil},
		{"help", "", "[COMMAND]", "list the commands, or explain one", (*Shell).help, completeWords(commandNames...)},
		{"exit", "quit", "", "leave the shell, as Ctrl-D does", (*Shell).exit, nil},
	}
}

var commandNames = []string{"ls", "list", "desc", "describe", "call", "header", "unset", "set", "time", "clear", "help", "exit", "quit"}

func findCommand(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return name != "" && (c.name == name || c.alias == name) })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

// runCommand runs the command in line.
func (s *Shell) runCommand(ctx context.Context, line string) error {
	name, rest := cutWord(line)
	c, ok := findCommand(name)
	switch {
	case ok:
		return c.run(s, ctx, rest)
	case strings.HasPrefix(name, "{"), slices.Contains(dotCommands, name):
		return usagef("call METHOD starts a call if METHOD takes a stream", "%q: no call is open", name)
	}
	advice := didYouMean("", suggest.Near(name, commandNames))
	return usagef(cmp.Or(advice, "help lists the commands"), "unknown command %q", name)
}

// cutWord splits s after the first word. Both results are trimmed.
func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}

func (s *Shell) ls(ctx context.Context, rest string) error {
	name, more := cutWord(rest)
	if more != "" {
		return usagef("ls SERVICE, or ls alone", "ls: unexpected %q", more)
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	lines, none := []string(nil), "(No services)"
	if name == "" {
		services, err := s.Target.Catalog.Services(ctx)
		if err != nil {
			return err
		}
		lines = services
	} else {
		methods, err := s.Target.Methods(ctx, name)
		if err != nil {
			return err
		}
		none = "(No methods)"
		for _, m := range methods {
			lines = append(lines, string(m.FullName()))
		}
	}
	if len(lines) == 0 {
		lines = []string{none}
	}
	slices.Sort(lines)
	for i, line := range lines {
		lines[i] = escape.Line(line)
	}
	return s.print(ctx, strings.Join(lines, "\n"))
}

// print writes text, escaped and without secrets, and a line break to Stdout, nothing if
// text is empty.
func (s *Shell) print(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	return call.Write(ctx, s.Stdout, escape.Text(s.Secrets.Mask(text))+"\n")
}

func (s *Shell) desc(ctx context.Context, rest string) error {
	const templateFlag = "--msg-template"
	var template message.Encoding
	var names []string
	for word := range strings.FieldsSeq(rest) {
		switch {
		case word == templateFlag:
			template = message.JSON
		case strings.HasPrefix(word, "-"):
			return usagef("the only one is "+templateFlag, "desc: unknown flag %q", word)
		default:
			names = append(names, word)
		}
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	if len(names) == 0 {
		services, err := s.Target.Catalog.Services(ctx)
		if err != nil {
			return err
		}
		names = services
	}
	for _, name := range names {
		symbol, err := s.Target.Catalog.Resolve(ctx, reflection.Any, name)
		if err != nil {
			return err
		}
		if err := s.describe(ctx, symbol.Descriptor, template); err != nil {
			return err
		}
	}
	return nil
}

// describe prints the description of a symbol.
func (s *Shell) describe(ctx context.Context, symbol protoreflect.Descriptor, template message.Encoding) error {
	text, err := call.Describe(ctx, symbol, template)
	if err != nil {
		return err
	}
	return s.print(ctx, strings.TrimRight(text, "\n"))
}

func (s *Shell) header(ctx context.Context, rest string) error {
	if rest == "" {
		if len(s.Metadata) == 0 {
			return nil
		}
		return s.print(ctx, call.FormatMetadata(s.Metadata))
	}
	name, value, ok := strings.Cut(rest, ":")
	name = strings.ToLower(strings.TrimSpace(name))
	value, err := s.expandHeader(ctx, strings.TrimSpace(value))
	if err != nil {
		return err
	}
	if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		name, _, _ = strings.Cut(name, " ") // the rest may be a secret
		return usagef("header NAME: VALUE", "%q is not valid metadata", name)
	}
	if err := call.CheckMetadata(name, value); err != nil {
		return usagef("", "header %v", err)
	}
	if reason := call.Reserved(name); reason != "" {
		return usagef("choose another name", "header %s: %s", name, reason)
	}
	if s.Metadata = s.Metadata.Copy(); s.Metadata == nil {
		s.Metadata = metadata.MD{}
	}
	s.Metadata.Set(name, value)
	s.Secrets.Add(value)
	return nil
}

func (s *Shell) unset(_ context.Context, rest string) error {
	name := strings.ToLower(rest)
	if len(s.Metadata.Get(name)) == 0 {
		return usagef("header lists the metadata", "no metadata %q is set", rest)
	}
	s.Metadata = s.Metadata.Copy()
	s.Metadata.Delete(name)
	return nil
}

// options returns the settings that set changes, by name.
func (s *Shell) options() map[string]*bool {
	return map[string]*bool{
		"compact":       &s.Settings.Compact,
		"emit-defaults": &s.Settings.EmitDefaults,
		"proto-names":   &s.Settings.ProtoNames,
		"errexit":       &s.Settings.Errexit,
		"time":          &s.Settings.Time,
		"timestamps":    &s.Settings.Timestamps,
	}
}

func optionNames() string {
	return strings.Join(slices.Sorted(maps.Keys((&Shell{}).options())), ", ")
}

func (s *Shell) set(ctx context.Context, rest string) error {
	name, value := cutWord(rest)
	option := s.options()[name]
	switch {
	case rest == "":
		var lines []string
		for name, on := range s.options() {
			lines = append(lines, name+" "+map[bool]string{true: "on", false: "off"}[*on])
		}
		slices.Sort(lines)
		return s.print(ctx, strings.Join(lines, "\n"))
	case rest == "-e", rest == "+e":
		s.Settings.Errexit = rest == "-e"
		return nil
	case option == nil:
		return usagef("the options are "+optionNames(), "unknown option %q", name)
	}
	return setOption(option, name, value)
}

func (s *Shell) time(_ context.Context, rest string) error {
	return setOption(&s.Settings.Time, "time", rest)
}

// setOption sets option to value, "on" or "off". name is for the error.
func setOption(option *bool, name, value string) error {
	if value != "on" && value != "off" {
		return usagef("", "%s %q: want on or off", name, value)
	}
	*option = value == "on"
	return nil
}

func (s *Shell) clear(_ context.Context, rest string) error {
	if rest != "" {
		return usagef("", "clear: unexpected %q", rest)
	}
	s.Input.Clear()
	return nil
}

func (s *Shell) exit(_ context.Context, rest string) error {
	if rest != "" {
		return usagef("", "exit: unexpected %q", rest)
	}
	s.quit = true
	return nil
}
