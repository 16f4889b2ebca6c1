// Package shell implements wstun shell: it reads commands from a terminal or a script
// and calls methods of one gRPC server.
//
//	terminal := shell.NewTerminal(os.Stdin, os.Stdout)
//	s := &shell.Shell{Target: target, Input: terminal, Interactive: true, Stdout: terminal, Stderr: terminal}
//	terminal.Complete, terminal.Interrupt = s.Complete, s.Interrupt
//	err := s.Run(ctx)
//
// Lifetimes: when Run returns, no call is in flight. The caller closes the connection
// and the input.
//
// Concurrency: Run is called once. Interrupt may be called at any time, Complete while
// Run reads a line.
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
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// Input yields the lines that a Shell runs.
type Input interface {
	// ReadLine blocks until it has a line, which it returns without the line break.
	// The error is io.EOF after the last line, ErrInterrupted if the user discarded
	// the line with Ctrl-C, or the cause of ctx's end. With ErrInterrupted it returns
	// the discarded text, too.
	ReadLine(ctx context.Context) (string, error)

	// SetPrompt sets the text that is shown before each line.
	SetPrompt(prompt string)

	// Remember adds a command, as one line, to the history.
	Remember(command string)

	// Clear clears the screen.
	Clear()
}

// Shell runs commands. Set its fields before Run.
type Shell struct {
	Target *call.Target
	Input  Input

	// Interactive says that a user types the lines and sees the output. Otherwise
	// the lines are a script, and Run returns its failure.
	Interactive bool

	Stdout io.Writer // receives results, escaped
	Stderr io.Writer // receives everything else

	// StatusOut receives the statuses of calls, escaped. Default: Stderr.
	StatusOut io.Writer

	// Colors are those of responses, StatusColors those of statuses. Default: none.
	Colors, StatusColors terminal.Colors

	// Report is called with a command's error. Default: it is written to Stderr.
	Report func(error)

	// Ready, if set, is called before a command that needs the server: it blocks
	// until the server can be reached, or returns why it can't.
	Ready func(ctx context.Context) error

	// Failed, if set, is called after the status of a call that failed was printed.
	Failed func(*status.Status)

	// MaxTime bounds each command. Default: no limit.
	MaxTime time.Duration

	// Metadata is sent with each call. The commands header and unset replace it.
	Metadata metadata.MD

	// Secrets are masked in results other than responses, and receive the metadata of
	// the command header. Default: none.
	Secrets *escape.Secrets

	// Settings are the initial settings. The commands set and time change them.
	Settings Settings

	MaxMsgSize         int  // of a response, in bytes; default: call.DefaultMaxMsgSize
	AllowUnknownFields bool // ignore fields of requests that the message type lacks

	linesRead  int
	lineNumber int // of the command's first line
	quit       bool

	mu      sync.Mutex
	cancel  context.CancelCauseFunc // of the running command; nil: none runs
	stream  *stream                 // the call that lines are messages of; nil: lines are commands
	partial []byte                  // the lines of a command whose last one isn't read yet
	last    *response               // nil: there was none
}

// Settings are options that the user can turn on and off.
type Settings struct {
	Compact      bool // print a response on one line
	EmitDefaults bool // also print fields that are not set
	ProtoNames   bool // print field names as in the .proto file
	Errexit      bool // end a script at the first command that fails
	Time         bool // print how long each call takes
	Timestamps   bool // print the time at which each response arrives
}

// CommandError is the error of a script's last command. It has been reported.
type CommandError struct{ Err error }

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }

// StatusError reports that a call ended with a status other than OK.
type StatusError struct {
	Method string // such as pkg.Service/Method
	Status *status.Status
}

func (e *StatusError) Error() string { return e.Method + ": " + e.Status.Code().String() }

// usagef returns the error of a line that isn't a valid command.
func usagef(advice, format string, args ...any) error {
	return &usage.Error{Err: fmt.Errorf(format, args...), Advice: advice}
}

// Run reads and runs commands until the input ends, a command ends the shell, or ctx
// ends. It returns a *CommandError if the last command of a script failed, the cause of
// ctx's end, or an error of the input. An interactive shell's commands don't fail it.
func (s *Shell) Run(ctx context.Context) error {
	defer s.cancelStream()
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
		case errors.Is(err, io.EOF) && s.currentStream() != nil: // Ctrl-D, or a script without .close
			err = s.runLine(ctx, ".close")
			if s.Interactive {
				continue
			}
			return commandError(err)
		case errors.Is(err, io.EOF):
			return s.exitError(last)
		case err != nil:
			return err
		}
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		err = s.runLine(ctx, line)
		if s.quit { // exit keeps the result of the command before
			return s.exitError(last)
		}
		last = err
		switch {
		case ctx.Err() != nil && !s.Interactive && isReported(last):
			return commandError(last)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case last != nil && s.Settings.Errexit && !s.Interactive:
			return s.exitError(last)
		}
	}
}

// exitError returns Run's result when the last command returned last.
func (s *Shell) exitError(last error) error {
	if s.Interactive {
		return nil
	}
	return commandError(last)
}

// commandError wraps err in a *CommandError unless it is nil.
func commandError(err error) error {
	if err == nil {
		return nil
	}
	return &CommandError{err}
}

// runLine runs a command, or sends a message of the current call, and reports its error.
func (s *Shell) runLine(shellCtx context.Context, line string) error {
	ctx, done := s.commandContext(shellCtx)
	defer done()
	var err error
	if st := s.currentStream(); st != nil {
		err = s.runInStream(ctx, st, line)
	} else {
		err = s.runCommand(ctx, line)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !isReported(err) {
		err = cause // err is a consequence of it
	}
	if shellCtx.Err() == nil { // otherwise Run returns its cause
		s.report(err)
	}
	return err
}

// reportedError is an error that has been reported before.
type reportedError struct{ error }

func (e *reportedError) Unwrap() error { return e.error }

// isReported reports whether the user has seen err.
func isReported(err error) bool {
	_, isStatus := errors.AsType[*StatusError](err) // printed by printEnd
	_, isReported := errors.AsType[*reportedError](err)
	return isStatus || isReported
}

// commandContext returns the context of a command, which Interrupt cancels, and a
// function to call when the command has ended.
func (s *Shell) commandContext(ctx context.Context) (context.Context, func()) {
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

// Interrupt cancels the running command and the current call, if any.
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

// cancelStream cancels the current call, if any, and waits for its end.
func (s *Shell) cancelStream() {
	if st := s.currentStream(); st != nil {
		st.cancel()
		<-st.done
	}
}

// currentStream returns the call that lines are messages of, nil if lines are commands.
func (s *Shell) currentStream() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

// report passes err to Report unless the user has seen it. The error of a script names the
// line and, if it is a call's, the method.
func (s *Shell) report(err error) {
	_, isStatus := errors.AsType[*StatusError](err)
	switch {
	case err == nil, isReported(err) && (s.Interactive || !isStatus):
		return
	case !s.Interactive:
		where := fmt.Sprintf("line %d: ", s.lineNumber)
		if me, ok := errors.AsType[*messageError](err); ok {
			where += me.Method + ": "
		}
		err = fmt.Errorf("%s%w", where, err)
	}
	if s.Report != nil {
		s.Report(err)
	} else {
		fmt.Fprintln(s.Stderr, err)
	}
}

// notify prints a message for the user of an interactive shell.
func (s *Shell) notify(format string, args ...any) {
	if s.Interactive {
		fmt.Fprintln(s.Stderr, escape.Line(fmt.Sprintf(format, args...)))
	}
}

// ready calls Ready.
func (s *Shell) ready(ctx context.Context) error {
	if s.Ready == nil {
		return nil
	}
	return s.Ready(ctx)
}

// printEnd prints a call's timings, if they are wanted, and its status. It returns a
// *StatusError if the status isn't OK.
func (s *Shell) printEnd(ctx context.Context, m *call.Method, r *call.Result, printer *call.Printer) error {
	if s.Settings.Time {
		fmt.Fprintln(s.Stderr, "time: "+formatTimings(r))
	}
	if r.Status.Code() == codes.OK {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout) // ctx may have ended
	defer cancel()
	printer.Types = m.Types(ctx)
	out := s.StatusOut
	if out == nil {
		out = s.Stderr
	}
	printer.Status(ctx, out, r.Status)
	if s.Failed != nil {
		s.Failed(r.Status)
	}
	return &StatusError{reflection.Name(m), r.Status}
}

// formatTimings formats the duration of a call.
func formatTimings(r *call.Result) string {
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
