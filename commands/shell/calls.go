package shell

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/reflection"
)

func (s *Shell) call(ctx context.Context, rest string) error {
	name, rest := cutWord(rest)
	if name == "" {
		return usagef("call METHOD, or call METHOD JSON; ls SERVICE lists the methods", "call: missing METHOD")
	}
	text, to, err := cutRedirection(rest)
	if err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	m, err := s.Target.Method(ctx, name)
	if err != nil {
		return err
	}
	if text == "" && m.IsStreamingClient() {
		file, err := to.open()
		if err == nil {
			s.startStream(ctx, m, file)
		}
		return err
	}
	messages, err := s.parseMessages(ctx, m, text)
	if err != nil {
		return err
	}
	if len(messages) > 1 && !m.IsStreamingClient() {
		return usagef("", "not sent: %s takes one message, not %d", reflection.Name(m), len(messages))
	}
	file, err := to.open()
	if err != nil {
		return err
	}
	return s.invoke(ctx, m, &messageList{messages}, file)
}

// redirection is a file for the responses of a call.
type redirection struct {
	path    string // empty: none
	appends bool
}

// cutRedirection splits JSON before > FILE or >> FILE.
func cutRedirection(text string) (data string, to redirection, err error) {
	i := outsideStrings(text, ">")
	if i < 0 {
		return text, to, nil
	}
	path, appends := strings.CutPrefix(text[i+1:], ">")
	if path = strings.TrimSpace(path); path == "" {
		return "", to, usagef("call METHOD JSON > FILE, or >> FILE to append", "call: missing FILE after >")
	}
	return strings.TrimSpace(text[:i]), redirection{path, appends}, nil
}

// open opens the file, which invoke closes; nil if there is none.
func (r redirection) open() (*os.File, error) {
	if r.path == "" {
		return nil, nil
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if r.appends {
		flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	return os.OpenFile(r.path, flags, 0o666) //nolint:gosec // a shell's redirection has this mode, too
}

// invoke makes a call, prints the responses to file, or to Stdout if that is nil, and prints
// the status. It closes file.
func (s *Shell) invoke(ctx context.Context, m *call.Method, requests call.Requests, file *os.File) error {
	types := m.Types(ctx)
	printer := &call.Printer{
		Out:   s.Stdout,
		Types: types,
		Format: message.Options{
			Compact: s.Settings.Compact, EmitDefaults: s.Settings.EmitDefaults, ProtoNames: s.Settings.ProtoNames, Note: call.NoteOnce(s.Stderr),
		},
		Colors: s.Colors, StatusColors: s.StatusColors, Timestamps: s.Settings.Timestamps, Secrets: s.Secrets,
	}
	if file != nil {
		printer.Out, printer.Colors = file, terminal.Colors{}
	}
	events := printer.Events()
	printMessage, names := events.Message, s.Settings.ProtoNames
	events.Message = func(ctx context.Context, r *call.Response) error {
		s.setLast(&response{r.Message, types, names})
		return printMessage(ctx, r)
	}
	opts := &call.Options{Metadata: s.Metadata, MaxMsgSize: s.MaxMsgSize}
	result, err := call.Invoke(ctx, s.Target.Conn, m, requests, opts, events)
	if file != nil {
		if cerr := file.Close(); err == nil {
			err = cerr
		}
	}
	if re, ok := errors.AsType[*call.RequestError](err); ok {
		return newMessageError(m, re.Err)
	}
	if err != nil {
		return err
	}
	return s.printEnd(ctx, m, result, printer)
}
