package shell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/reflection/suggest"
)

// messageError reports a text that can't be parsed as a method's requests. No message
// of the text has been sent.
type messageError struct {
	Method string // such as pkg.Service/Method
	Type   protoreflect.FullName
	Err    error
}

func newMessageError(m *call.Method, err error) *messageError {
	return &messageError{reflection.Name(m), m.Input().FullName(), err}
}

func (e *messageError) Error() string { return "not sent: " + e.Err.Error() }
func (e *messageError) Unwrap() error { return e.Err }

// Hint returns advice to the user.
func (e *messageError) Hint() string {
	return cmp.Or(call.Suggestion(e.Err), "desc "+string(e.Type)+" lists the fields")
}

// parseMessages parses the messages in text, with values of the last response in place of
// $.field. If one is invalid, it returns none.
func (s *Shell) parseMessages(ctx context.Context, m *call.Method, text string) ([]protoreflect.ProtoMessage, error) {
	text, err := s.expandJSON(ctx, text)
	if err != nil {
		return nil, err
	}
	requests := call.NewRequests(strings.NewReader(text), message.JSON, m.Types(ctx), &call.RequestOptions{AllowUnknownFields: s.AllowUnknownFields})
	var all []protoreflect.ProtoMessage
	for {
		message := dynamicpb.NewMessage(m.Input())
		err := requests.Next(ctx, message)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if re, ok := errors.AsType[*call.RequestError](err); ok {
			err = re.Err
			if strings.Contains(text, "\n") {
				err = fmt.Errorf("line %d of the JSON: %w", re.Line, err)
			}
			if len(all) > 0 {
				err = fmt.Errorf("message %d: %w", re.Number, err)
			}
			return nil, newMessageError(m, err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, message)
	}
}

// messageList implements call.Requests for messages that are known before the call.
type messageList struct{ rest []protoreflect.ProtoMessage }

func (l *messageList) Next(_ context.Context, m protoreflect.ProtoMessage) error {
	if len(l.rest) == 0 {
		return io.EOF
	}
	proto.Merge(m, l.rest[0])
	l.rest = l.rest[1:]
	return nil
}

func (l *messageList) More() bool { return len(l.rest) > 0 }

// stream is a call whose messages are lines that follow its command. It implements
// call.Requests.
type stream struct {
	method   *call.Method
	line     int                            // of its command
	messages chan protoreflect.ProtoMessage // closed after the last message
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // the call's; set before done is closed
	lineErr  error // of the first invalid line, in a script
}

func (st *stream) Next(ctx context.Context, m protoreflect.ProtoMessage) error {
	select {
	case message, ok := <-st.messages:
		if !ok {
			return io.EOF
		}
		proto.Merge(m, message)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (st *stream) More() bool { return false } // only asked of methods that take one message

// startStream starts a call whose messages are the lines that follow. Its responses are
// printed to file unless that is nil.
func (s *Shell) startStream(ctx context.Context, m *call.Method, file *os.File) {
	// The call outlives the command that starts it, but not the command's deadline.
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		callCtx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	st := &stream{method: m, line: s.lineNumber, messages: make(chan protoreflect.ProtoMessage), cancel: cancel, done: make(chan struct{})}
	s.notify("Each line is now a message of %s: .close or Ctrl-D ends the messages, .cancel or Ctrl-C cancels the call.", reflection.Name(m))
	s.setStream(st)
	go func() {
		defer cancel()
		err := s.invoke(callCtx, m, st, file)
		if s.Interactive {
			if err == nil {
				s.notify("%s has ended.", m.Name())
			}
			s.report(err)
			s.setStream(nil)
		}
		st.err = err
		close(st.done)
	}()
}

// dotCommands are the commands inside a call.
var dotCommands = []string{".send", ".close", ".cancel", ".desc", ".help"}

// runInStream runs a line inside a call. In a script the call's lines go up to .close,
// .cancel or the end of the script, even if the server ends the call before.
func (s *Shell) runInStream(ctx context.Context, st *stream, line string) error {
	word, rest := cutWord(line)
	_, isCommand := findCommand(word)
	switch {
	case isCommand:
		return usagef("", "%q: lines are messages now: use .close, .cancel or .help", word)
	case word == ".help" && rest == "":
		return s.print(ctx, strings.TrimSpace(streamHelp))
	case word == ".desc" && rest == "":
		return s.describe(ctx, st.method.Input(), "")
	case word == ".desc":
		return s.desc(ctx, rest)
	case word == ".close" && rest == "":
		close(st.messages)
		return s.waitStream(ctx, st)
	case word == ".cancel" && rest == "":
		st.cancel()
		return s.waitStream(ctx, st)
	case word == ".send" && rest == "":
		return usagef("{} is the empty message", ".send: missing JSON")
	case word == ".send":
		line = rest
	case strings.HasPrefix(word, "."):
		advice := didYouMean("", suggest.Near(word, dotCommands))
		return usagef(cmp.Or(advice, "inside a call, use .send JSON, .desc, .close, .cancel or .help"), "%q is not a command inside a call", word)
	}
	err := s.send(ctx, st, line)
	if err != nil && st.lineErr == nil && !s.Interactive {
		st.lineErr = err
	}
	return err
}

// send sends the messages in line.
func (s *Shell) send(ctx context.Context, st *stream, line string) error {
	messages, err := s.parseMessages(ctx, st.method, line)
	if err != nil {
		return err
	}
	for _, message := range messages {
		select {
		case st.messages <- message:
		case <-st.done:
			return nil // the server has ended the call
		case <-ctx.Done():
			st.cancel()
			return context.Cause(ctx)
		}
	}
	return nil
}

// waitStream waits until the call has ended. In a script it returns the call's error; an
// interactive shell has reported it.
func (s *Shell) waitStream(ctx context.Context, st *stream) error {
	select {
	case <-st.done:
	case <-ctx.Done():
		st.cancel()
		<-st.done
	}
	if s.Interactive {
		return nil
	}
	s.setStream(nil)
	s.lineNumber = st.line // for the call's error
	if st.err == nil && st.lineErr != nil {
		return &reportedError{st.lineErr}
	}
	return st.err
}
