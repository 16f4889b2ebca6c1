package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/reflection"
)

// MessageError is a text that is no message of the type that a method takes. None of it
// has been sent.
type MessageError struct {
	Type protoreflect.FullName
	Err  error
}

func (e *MessageError) Error() string { return "not sent: " + e.Err.Error() }
func (e *MessageError) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *MessageError) Hint() string {
	return "desc " + string(e.Type) + " shows what there may be in it"
}

// messages reads the messages that a text has, all of them or none.
func (s *Shell) messages(ctx context.Context, m *call.Method, text string) ([]protoreflect.ProtoMessage, error) {
	requests := call.NewRequests(strings.NewReader(text), call.JSON, m.Types(ctx), &call.RequestOptions{AllowUnknownFields: s.AllowUnknownFields})
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
			return nil, &MessageError{m.Input().FullName(), err}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, message)
	}
}

// listed is the Requests that are there from the beginning.
type listed struct{ rest []protoreflect.ProtoMessage }

func (l *listed) Next(_ context.Context, m protoreflect.ProtoMessage) error {
	if len(l.rest) == 0 {
		return io.EOF
	}
	proto.Merge(m, l.rest[0])
	l.rest = l.rest[1:]
	return nil
}

func (l *listed) More() bool { return len(l.rest) > 0 }

// stream is a call whose messages are typed while it goes on. It is the call's Requests.
type stream struct {
	method   *call.Method
	messages chan protoreflect.ProtoMessage // closed: no more
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // valid once done is closed
	bad      error // the first error of a line, in a script
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

func (st *stream) More() bool { return false } // it is for one message

// enter begins a call, in which the lines to come are messages.
func (s *Shell) enter(ctx context.Context, m *call.Method) {
	// The call outlives the command that begins it, but not its time.
	calling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		calling, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	st := &stream{method: m, messages: make(chan protoreflect.ProtoMessage), cancel: cancel, done: make(chan struct{})}
	s.note("Each line is a message of %s now: .close or Ctrl-D ends them, .cancel or Ctrl-C the call.", reflection.Name(m))
	s.setStream(st)
	go func() {
		defer cancel()
		err := s.invoke(calling, m, st)
		if s.Interactive {
			if err == nil {
				s.note("%s has ended.", m.Name())
			}
			s.report(err)
			s.setStream(nil)
		}
		st.err = err
		close(st.done)
	}()
}

// inStream does what a line in a stream says. In a script the call's lines end with
// .close, .cancel or the script, whenever the call does.
func (s *Shell) inStream(ctx context.Context, st *stream, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == ".close" && rest == "":
		close(st.messages)
		return s.finish(ctx, st)
	case word == ".cancel" && rest == "":
		st.cancel()
		return s.finish(ctx, st)
	case word == ".send" && strings.TrimSpace(rest) == "":
		return usagef("{} is the message without any field", ".send what?")
	case word == ".send":
		line = rest
	case strings.HasPrefix(word, "."):
		return usagef("there are .send JSON, .close and .cancel", "%q is no command inside a call", word)
	}
	err := s.send(ctx, st, line)
	if err != nil && st.bad == nil && !s.Interactive {
		st.bad = err
	}
	return err
}

// send sends the messages of a line.
func (s *Shell) send(ctx context.Context, st *stream, line string) error {
	messages, err := s.messages(ctx, st.method, line)
	if err != nil {
		return err
	}
	for _, message := range messages {
		select {
		case st.messages <- message:
		case <-st.done:
			return nil // the server wants no more
		case <-ctx.Done():
			st.cancel()
			return context.Cause(ctx)
		}
	}
	return nil
}

// finish waits until the call has ended, and returns its error. Interactively that has
// been told.
func (s *Shell) finish(ctx context.Context, st *stream) error {
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
	if st.err == nil && st.bad != nil {
		return &toldError{st.bad}
	}
	return st.err
}
