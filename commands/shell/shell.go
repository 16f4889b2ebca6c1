// Package shell is the loop of wstun shell: it reads commands, from a terminal or a
// script, and calls methods of one gRPC server.
//
//	terminal := shell.NewTerminal(os.Stdin, os.Stdout)
//	s := &shell.Shell{Target: target, Input: terminal, Interactive: true, Stdout: terminal, Stderr: terminal}
//	terminal.Complete, terminal.Interrupt = s.Complete, s.Interrupt
//	err := s.Run(ctx)
//
// Lifetimes: when Run returns, no call is under way any more. The connection and the
// input are the caller's to close.
//
// Concurrency: Run is called once. Interrupt may be called at any time, Complete while
// Run waits for a line.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/call"
)

// Input is where lines come from.
type Input interface {
	// ReadLine waits for a line and returns it without its end. The error is io.EOF
	// if there are no more, ErrInterrupted if the line, as far as it was typed, is
	// not wanted, or the cause of ctx's end.
	ReadLine(ctx context.Context) (string, error)

	// SetPrompt sets what stands before a line for somebody to see.
	SetPrompt(prompt string)
}

// Shell is a run of the shell. Its fields are set before Run.
type Shell struct {
	Target *call.Target
	Input  Input

	// Interactive is that somebody types the lines and sees what comes of them.
	// Otherwise they are a script, of which a failure is a failure of the whole.
	Interactive bool

	Stdout io.Writer // gets results
	Stderr io.Writer // gets the rest

	// Report tells of the error of a command. Default: it is written to Stderr.
	Report func(error)

	// Ready, if set, is called before a command that asks the server something: it
	// waits until that can be done, or returns why it can't.
	Ready func(ctx context.Context) error

	// MaxTime bounds each command. Default: no limit.
	MaxTime time.Duration

	// Metadata is sent with each call, and changed by header and unset.
	Metadata metadata.MD

	// Settings are changed by set and time.
	Settings Settings

	MaxMsgSize         int  // of a response; default: call.DefaultMaxMsgSize
	AllowUnknownFields bool // in messages to send

	number int // of lines read
	quit   bool

	mu     sync.Mutex              // guards:
	cancel context.CancelCauseFunc // of the command that runs; nil: none does
	stream *stream                 // the call that lines are sent in; nil: they are commands
}

// Settings are what the user can turn on and off.
type Settings struct {
	Compact      bool // print a response on one line
	EmitDefaults bool // print fields that are not set, too
	ProtoNames   bool // print field names as in the .proto file
	Errexit      bool // end a script at the first command that fails
	Time         bool // say how long a call takes
}

// CommandError is the error of the command that a script ended with. It has been
// reported.
type CommandError struct{ Err error }

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }

// StatusError is that a call has ended with a status other than OK.
type StatusError struct{ Status *status.Status }

func (e *StatusError) Error() string { return "call: " + e.Status.Code().String() }

// UsageError is a line that is no command.
type UsageError struct {
	Err    error
	Advice string // may be empty
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *UsageError) Hint() string { return e.Advice }

func usagef(advice, format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...), advice}
}

const prompt = "wstun> "

// Run reads and runs commands until there are no more. Of a script it returns the error
// of the last one, as a *CommandError; else nil, the cause of ctx's end, or an error of
// the input.
func (s *Shell) Run(ctx context.Context) error {
	defer s.abort()
	s.Input.SetPrompt(prompt)
	var last error
	for {
		line, err := s.readLine(ctx)
		switch {
		case errors.Is(err, ErrInterrupted):
			if strings.TrimSpace(line) == "" {
				s.Interrupt()
			}
			continue
		case errors.Is(err, io.EOF) && s.open() != nil: // ends its messages
			err = s.command(ctx, ".close")
			if s.Interactive {
				continue
			}
			return failed(err)
		case errors.Is(err, io.EOF):
			return s.leave(last)
		case err != nil:
			return err
		}
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		last = s.command(ctx, line)
		switch {
		case ctx.Err() != nil && !s.Interactive && isTold(last):
			return failed(last)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.quit, last != nil && s.Settings.Errexit && !s.Interactive:
			return s.leave(last)
		}
	}
}

// leave is what Run returns at the end.
func (s *Shell) leave(last error) error {
	if s.Interactive {
		return nil
	}
	return failed(last)
}

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &CommandError{err}
}

// readLine reads a line, and those that it goes on with: behind a backslash at its end.
func (s *Shell) readLine(ctx context.Context) (string, error) {
	var whole strings.Builder
	for {
		line, err := s.Input.ReadLine(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) && whole.Len() > 0 {
				return whole.String(), nil
			}
			return whole.String() + line, err
		}
		s.number++
		begin, more := strings.CutSuffix(line, `\`)
		whole.WriteString(begin)
		if !more {
			return whole.String(), nil
		}
	}
}

// command runs one, and reports its error.
func (s *Shell) command(asked context.Context, line string) error {
	ctx, done := s.begin(asked)
	defer done()
	var err error
	if st := s.open(); st != nil {
		err = s.inStream(ctx, st, line)
	} else {
		err = s.run(ctx, line)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !isTold(err) {
		err = cause // rather than what became of it on the way
	}
	if asked.Err() == nil { // otherwise that is what there is to tell
		s.report(err)
	}
	return err
}

// toldError is an error that has been reported before.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// isTold reports whether there is no more to say of err.
func isTold(err error) bool {
	_, isStatus := errors.AsType[*StatusError](err) // printed with its details
	_, isTold := errors.AsType[*toldError](err)
	return isStatus || isTold
}

// begin makes the context of a command, which Interrupt ends.
func (s *Shell) begin(ctx context.Context) (context.Context, func()) {
	stop := func() {}
	if s.MaxTime > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, s.MaxTime, fmt.Errorf("not done within %v", s.MaxTime))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cancel = nil
		cancel(nil)
		stop()
	}
}

// Interrupt cancels the command or the call that is under way, if any.
func (s *Shell) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(ErrInterrupted)
	}
	if s.stream != nil {
		s.stream.cancel()
	}
}

// abort ends the call that lines are sent in.
func (s *Shell) abort() {
	if st := s.open(); st != nil {
		st.cancel()
		<-st.done
	}
}

// open returns the call that lines are sent in, nil if there is none.
func (s *Shell) open() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

// setStream sets what open returns.
func (s *Shell) setStream(st *stream) {
	s.mu.Lock()
	s.stream = st
	s.mu.Unlock()
	if st == nil {
		s.Input.SetPrompt(prompt)
	} else {
		s.Input.SetPrompt(string(st.method.Name()) + "> ")
	}
}

// report tells of an error.
func (s *Shell) report(err error) {
	switch {
	case err == nil, isTold(err):
		return
	case !s.Interactive:
		err = fmt.Errorf("line %d: %w", s.number, err)
	}
	if s.Report != nil {
		s.Report(err)
	} else {
		fmt.Fprintln(s.Stderr, err)
	}
}

// note tells somebody who types what happens.
func (s *Shell) note(format string, args ...any) {
	if s.Interactive {
		fmt.Fprintf(s.Stderr, format+"\n", args...)
	}
}

// ready waits until the server can be asked.
func (s *Shell) ready(ctx context.Context) error {
	if s.Ready == nil {
		return nil
	}
	return s.Ready(ctx)
}

// result tells how a call has ended.
func (s *Shell) result(ctx context.Context, m *call.Method, r *call.Result, printer *call.Printer) error {
	if s.Settings.Time {
		fmt.Fprintln(s.Stderr, "time: "+timings(r))
	}
	if r.Status.Code() == codes.OK {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askingTime) // the call's own may be over
	defer cancel()
	printer.Types = m.Types(ctx)
	printer.Status(s.Stderr, r.Status)
	return &StatusError{r.Status}
}

// timings says how long a call has taken.
func timings(r *call.Result) string {
	t := r.Timings
	text := t.End.Round(time.Microsecond).String()
	if t.Headers > 0 {
		text += fmt.Sprintf(", headers after %v", t.Headers.Round(time.Microsecond))
	}
	if t.First > 0 {
		text += fmt.Sprintf(", first message after %v", t.First.Round(time.Microsecond))
	}
	return text
}
