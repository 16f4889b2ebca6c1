package shell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

// messageError reports a text that can't be parsed as a method's requests. No message
// of the text has been sent.
type messageError struct {
	Type protoreflect.FullName
	Err  error
}

func (e *messageError) Error() string { return "not sent: " + e.Err.Error() }
func (e *messageError) Unwrap() error { return e.Err }

// Hint returns advice to the user.
func (e *messageError) Hint() string {
	return cmp.Or(call.Suggestion(e.Err), "desc "+string(e.Type)+" lists the fields")
}

// parseMessages parses the messages in text. If one is invalid, it returns none.
func (s *Shell) parseMessages(ctx context.Context, m *call.Method, text string) ([]protoreflect.ProtoMessage, error) {
	requests := call.NewRequests(strings.NewReader(text), message.JSON, m.Types(ctx), &call.RequestOptions{AllowUnknownFields: s.AllowUnknownFields})
	var all []protoreflect.ProtoMessage
	for {
		message := dynamicpb.NewMessage(m.Input())
		err := requests.Next(ctx, message)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if re, ok := errors.AsType[*call.RequestError](err); ok {
			if err = re.Err; len(all) > 0 {
				err = fmt.Errorf("message %d: %w", re.Number, re.Err)
			}
			return nil, &messageError{m.Input().FullName(), err}
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

// startStream starts a call whose messages are the lines that follow.
func (s *Shell) startStream(ctx context.Context, m *call.Method) {
	// The call outlives the command that starts it, but not the command's deadline.
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		callCtx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	st := &stream{method: m, messages: make(chan protoreflect.ProtoMessage), cancel: cancel, done: make(chan struct{})}
	s.notify("Each line is now a message of %s: .close or Ctrl-D ends the messages, .cancel or Ctrl-C cancels the call.", reflection.Name(m))
	s.setStream(st)
	go func() {
		defer cancel()
		err := s.invoke(callCtx, m, st)
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

// runInStream runs a line inside a call. In a script the call's lines go up to .close,
// .cancel or the end of the script, even if the server ends the call before.
func (s *Shell) runInStream(ctx context.Context, st *stream, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == ".close" && rest == "":
		close(st.messages)
		return s.waitStream(ctx, st)
	case word == ".cancel" && rest == "":
		st.cancel()
		return s.waitStream(ctx, st)
	case word == ".send" && strings.TrimSpace(rest) == "":
		return usagef("{} is the empty message", ".send: missing JSON")
	case word == ".send":
		line = rest
	case strings.HasPrefix(word, "."):
		return usagef("inside a call, use .send JSON, .close or .cancel", "%q is not a command inside a call", word)
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
	if st.err == nil && st.lineErr != nil {
		return &reportedError{st.lineErr}
	}
	return st.err
}
