package shell

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// command is a command of the shell. rest is the line after the command's name.
type command struct {
	name, args, help string
	run              func(s *Shell, ctx context.Context, rest string) error
	complete         func(s *Shell, ctx context.Context, rest string) []Candidate // for the last word of rest; nil: no completion
}

// commands returns all commands, in the order of help.
func commands() []command {
	return []command{
		{"ls", "[SERVICE]", "list the services, or the methods of one", (*Shell).ls, completeNames(reflection.Service)},
		{"desc", "SYMBOL…", "describe services, methods, messages and other symbols", (*Shell).desc, completeNames(reflection.Any)},
		{"call", "METHOD [JSON…]", "call a method with these messages; without JSON, send an\nempty message or, if METHOD takes a stream, the next lines", (*Shell).call, (*Shell).completeMethod},
		{"header", "[NAME: VALUE]", "send this metadata with each call, or list the metadata", (*Shell).header, nil},
		{"unset", "NAME", "stop sending this metadata", (*Shell).unset, (*Shell).completeUnset},
		{"set", "[OPTION on|off]", "turn an option on or off, or list the options:\n" + optionNames() + ";\nset -e and set +e turn errexit on and off, which ends a\nscript at the first command that fails", (*Shell).set, (*Shell).completeSet},
		{"time", "on|off", "turn on or off the printing of how long each call takes", (*Shell).time, completeWords("on", "off")},
		{"help", "[COMMAND]", "list the commands, or explain one", (*Shell).help, completeWords(commandNames()...)},
		{"exit", "", "leave the shell; quit and Ctrl-D do the same", (*Shell).exit, nil},
		{"quit", "", "", (*Shell).exit, nil},
	}
}

func commandNames() []string {
	return []string{"ls", "desc", "call", "header", "unset", "set", "time", "help", "exit", "quit"}
}

func findCommand(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
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
	case strings.HasPrefix(name, "{"), name == ".send", name == ".close", name == ".cancel":
		return usagef("call METHOD starts a call if METHOD takes a stream", "%q: no call is open", name)
	}
	return usagef("help lists the commands", "unknown command %q", name)
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
	var lines []string
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
		for _, m := range methods {
			lines = append(lines, string(m.FullName()))
		}
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
	names := strings.Fields(rest)
	if len(names) == 0 {
		return usagef("desc SYMBOL…; ls lists the services", "desc: missing SYMBOL")
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	for _, name := range names {
		symbol, err := s.Target.Catalog.Resolve(ctx, reflection.Any, name)
		if err != nil {
			return err
		}
		d, err := reflection.Describe(ctx, symbol.Descriptor)
		if err != nil {
			return err
		}
		if err := s.print(ctx, fmt.Sprintf("%s is %s:\n%s", d.Name, d.Kind, d.Text)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shell) call(ctx context.Context, rest string) error {
	name, text := cutWord(rest)
	if name == "" {
		return usagef("call METHOD, or call METHOD JSON; ls SERVICE lists the methods", "call: missing METHOD")
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	m, err := s.Target.Method(ctx, name)
	if err != nil {
		return err
	}
	if text == "" && m.IsStreamingClient() {
		s.startStream(ctx, m)
		return nil
	}
	messages, err := s.parseMessages(ctx, m, text)
	if err != nil {
		return err
	}
	if len(messages) > 1 && !m.IsStreamingClient() {
		return usagef("", "not sent: %s takes one message, not %d", reflection.Name(m), len(messages))
	}
	return s.invoke(ctx, m, &messageList{messages})
}

// invoke makes a call and prints the responses and the status.
func (s *Shell) invoke(ctx context.Context, m *call.Method, requests call.Requests) error {
	printer := &call.Printer{
		Out:   s.Stdout,
		Types: m.Types(ctx),
		Format: message.Options{
			Compact: s.Settings.Compact, EmitDefaults: s.Settings.EmitDefaults, ProtoNames: s.Settings.ProtoNames, Note: call.NoteOnce(s.Stderr),
		},
		Colors: s.Colors, StatusColors: s.StatusColors, Timestamps: s.Settings.Timestamps, Secrets: s.Secrets,
	}
	opts := &call.Options{Metadata: s.Metadata, MaxMsgSize: s.MaxMsgSize}
	result, err := call.Invoke(ctx, s.Target.Conn, m, requests, opts, printer.Events())
	if re, ok := errors.AsType[*call.RequestError](err); ok {
		return &messageError{m.Input().FullName(), re.Err}
	}
	if err != nil {
		return err
	}
	return s.printEnd(ctx, m, result, printer)
}

func (s *Shell) header(ctx context.Context, rest string) error {
	if rest == "" {
		if len(s.Metadata) == 0 {
			return nil
		}
		return s.print(ctx, call.FormatMetadata(s.Metadata))
	}
	name, value, ok := strings.Cut(rest, ":")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
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

func (s *Shell) help(ctx context.Context, rest string) error {
	var b strings.Builder
	for _, c := range commands() {
		if c.help == "" || rest != "" && rest != c.name {
			continue
		}
		head := c.name + " " + c.args
		for line := range strings.SplitSeq(c.help, "\n") {
			fmt.Fprintf(&b, "%-24s %s\n", head, line)
			head = ""
		}
	}
	if b.Len() == 0 {
		return usagef("help lists the commands", "unknown command %q", rest)
	}
	if rest == "" || rest == "call" {
		b.WriteString(streamHelp)
	}
	return s.print(ctx, strings.TrimRight(b.String(), "\n"))
}

const streamHelp = `
Inside a call each line is sent at once as a JSON message, except for
.send JSON              send a message
.close                  end the messages; Ctrl-D does the same
.cancel                 cancel the call; Ctrl-C does the same

Names may be short, as in call Echo. A line that ends with a backslash continues
in the next one. A line that begins with # is a comment.
`

func (s *Shell) exit(_ context.Context, rest string) error {
	if rest != "" {
		return usagef("", "exit: unexpected %q", rest)
	}
	s.quit = true
	return nil
}

// jsonFields returns the fields that md's JSON form has: none for the well-known types,
// whose JSON form isn't an object with their fields.
func jsonFields(md protoreflect.MessageDescriptor) []call.Field {
	if md.ParentFile().Package() == "google.protobuf" {
		return nil
	}
	return call.Fields(md)
}
