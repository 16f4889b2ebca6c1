package commands

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
)

// colorFlag returns the flag that all commands have that print more than a line.
func (p *program) colorFlag() cli.Flag {
	return usage.String(&p.color, "color", "color the output `WHEN`: auto (on a terminal, unless NO_COLOR is set), always or never", "auto")
}

// logOptions are the values of the flags for the log.
type logOptions struct{ level, format string }

func (o *logOptions) flags(level string) []cli.Flag {
	return []cli.Flag{
		usage.String(&o.level, "log-level", "log from `LEVEL` up: debug, info, warn or error", level),
		usage.String(&o.format, "log-format", "log as `FORMAT`: text or json (default: lines for people on a terminal, otherwise text)", ""),
	}
}

// newLogger returns the logger that the flags choose. grpc-go logs to it, too.
func (p *program) newLogger(o *logOptions) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, usage.OneOf("log-level", o.level, "debug", "info", "warn", "error")
	}
	format := cmp.Or(o.format, "text")
	if err := usage.OneOf("log-format", format, "text", "json"); err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(p.stderr, opts)
	switch {
	case format == "json":
		handler = slog.NewJSONHandler(p.stderr, opts)
	case o.format == "" && isTerminal(p.stderr):
		handler = p.newStatusLines(level)
	}
	logger := slog.New(handler)
	p.grpcLog.logger.Store(logger)
	return logger, nil
}

// outputOptions are the values of the flags of commands that run until stopped.
type outputOptions struct {
	log               logOptions
	format, readyFile string
}

func (o *outputOptions) flags() []cli.Flag {
	return append(o.log.flags("info"),
		usage.String(&o.format, "output", "print results as `FORMAT`: text (addresses) or json (events)", "text"),
		usage.Path(&o.readyFile, "ready-file", "write the addresses or the URL to `PATH` once usable; removed at the end"))
}

// output receives the results and logs of a command that runs until stopped.
type output struct {
	logger  *slog.Logger
	ready   readyFile
	fail    context.CancelCauseFunc // ends the command, in order
	secrets *escape.Secrets         // masked in events
	given   usage.Given
	lines   *statusLines // nil: stderr is no terminal, or has a log
	command bool         // there is a COMMAND
	monitor *monitor.Monitor

	mu       sync.Mutex
	stdout   io.Writer // reports its errors itself, see results; nil: results are not printed
	json     bool
	logsJSON bool            // the log is in JSON
	failure  netdiag.Failure // of the last dial or session, for retry
	reason   error           // of the last retry; nil: there was none
	down     string          // the reason of the last end of a session
}

// newOutput returns the output of the command with this name.
func (p *program) newOutput(name string, o *outputOptions) (*output, error) {
	logger, err := p.newLogger(&o.log)
	if err != nil {
		return nil, err
	}
	if err := usage.OneOf("output", o.format, "text", "json"); err != nil {
		return nil, err
	}
	out := &output{
		logger: logger, ready: readyFile{path: o.readyFile}, fail: p.fail, stdout: unmasked(p.stdout),
		json: o.format == "json", logsJSON: o.log.format == "json", secrets: &p.secrets, given: p.given,
		command: p.hasCommand, monitor: monitor.New(monitor.Info{Command: name, Version: version()}),
	}
	out.lines, _ = logger.Handler().(*statusLines)
	if p.hasCommand {
		out.stdout = nil // the command writes there
	}
	p.out = out
	return out, nil
}

// event prints one JSON object, if that is the format.
func (o *output) event(name string, fields map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.json || o.stdout == nil {
		return
	}
	for key, value := range fields {
		if text, ok := value.(string); ok && name != "listening" { // clients use the addresses
			fields[key] = o.secrets.Mask(text)
		}
	}
	fields["event"] = name
	fields["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(fields)
	if err != nil {
		o.logger.Error("event not printed", slog.Any("err", err))
		return
	}
	_, _ = io.WriteString(o.stdout, escape.Text(string(line))+"\n")
}

// adminAt reports the address of --admin, and its token; "" if that isn't new.
func (o *output) adminAt(url, token string) {
	o.event("listening", map[string]any{"admin": url})
	if token != "" {
		url += "/#token=" + token
	}
	if o.lines == nil {
		o.logger.Info("listening", slog.String("admin", url))
		return
	}
	o.lines.write(slog.LevelInfo, "", "admin", " at "+url)
}

// listening reports a listener. key is "address" or "url".
func (o *output) listening(key, value string) {
	o.monitor.Listening(value)
	o.event("listening", map[string]any{key: value})
	o.mu.Lock()
	defer o.mu.Unlock()
	printed := !o.json && o.stdout != nil
	switch {
	case o.lines == nil:
		o.logger.Info("listening", slog.String(key, value))
	case !printed || !isTerminal(o.stdout): // otherwise the address is already there
		o.lines.write(slog.LevelInfo, "", "listening", " at "+value)
	}
	if printed {
		fmt.Fprintln(o.stdout, value)
	}
}

// setReady reports that the command has become usable, and writes lines to the ready
// file: the addresses or the URL to use, from where calls are forwarded to the given
// place. If that fails, it ends the command and returns false.
func (o *output) setReady(to string, lines ...string) bool {
	if o.ready.path != "" {
		if err := o.ready.write(strings.Join(lines, "\n") + "\n"); err != nil {
			o.fail(&outputError{"--ready-file " + o.ready.path, err})
			return false
		}
	}
	o.monitor.SetUsable(to)
	o.event("ready", map[string]any{})
	if o.lines == nil {
		o.logger.Info("ready")
		return true
	}
	arrow := " → "
	if terminal.ASCII() {
		arrow = " -> "
	}
	o.lines.write(slog.LevelInfo, terminal.Green, "forwarding", " "+strings.Join(lines, ", ")+arrow+to)
	return true
}

// retry reports a wait before the next dial. It logs each reason once, with a hint;
// repetitions are for level debug, until a session is up.
func (o *output) retry(in time.Duration, reason error) {
	in = in.Round(time.Millisecond)
	cause, _ := monitor.ReasonOf(reason)
	o.monitor.Retrying(in, cause, reason.Error())
	o.event("retry", map[string]any{"in": float64(in.Milliseconds()) / 1000, "reason": reason.Error(), "cause": cause.String()})
	attrs := []any{slog.Duration("in", in), slog.String("cause", cause.String()), slog.Any("err", reason)}
	o.mu.Lock()
	isNew, isKnown := o.failure.IsNew(reason), reason.Error() == o.down
	o.reason = reason
	o.mu.Unlock()
	if !isNew {
		o.logger.Debug("retry", attrs...)
		return
	}
	o.systemdStatus("no session: " + reason.Error())
	h := cmp.Or(hint(reason, o.given), dialHint(reason))
	if o.lines != nil {
		o.sayRetry(in, reason, isKnown, h)
		return
	}
	if h != "" {
		attrs = append(attrs, slog.String("hint", h))
	}
	level := slog.LevelWarn
	if websocket.IsCloseError(reason, tunnel.CloseReplaced) { // an operator must stop one of two
		level = slog.LevelError
	}
	o.logger.Log(context.Background(), level, "retry", attrs...)
}

// retryReason returns the reason of the last retry, nil if there was none.
func (o *output) retryReason() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reason
}

// sayRetry is retry for a terminal, which may already show the reason.
func (o *output) sayRetry(in time.Duration, reason error, isKnown bool, hint string) {
	text := " in " + in.Round(100*time.Millisecond).String()
	if !isKnown {
		text += ": " + reason.Error()
	}
	o.lines.write(slog.LevelWarn, terminal.Yellow, "reconnecting", text)
	if hint != "" {
		o.lines.write(slog.LevelWarn, "", "hint: ", hint)
	}
}

// newSessions returns a set that prints and logs its sessions to o.
func (o *output) newSessions() *tunnel.Sessions {
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{
		Up: func(s *tunnel.Session) {
			o.mu.Lock()
			o.failure.Clear()
			o.mu.Unlock()
			o.sessionUp(monitor.FromSession(s))
		},
		Down: func(s *tunnel.Session, reason error) {
			d := down{id: s.ID, remote: s.Remote, reason: reason.Error(), lasted: time.Since(s.Since), roundTrip: s.Stats().RoundTrip}
			if d.cause, d.code = monitor.ReasonOf(reason); errors.Is(reason, net.ErrClosed) {
				d.reason = "closed by this side"
			}
			o.sessionDown(&d)
		},
	})
	return sessions
}

func (o *output) sessionUp(l *monitor.Link) {
	o.monitor.Up(l)
	o.systemdStatus("session up: " + l.Remote)
	o.event("session_up", map[string]any{"session": l.ID, "remote": l.Remote})
	if o.lines != nil {
		o.lines.write(slog.LevelInfo, terminal.Green, "session up", ": "+l.Remote)
		return
	}
	o.logger.Info("session up", slog.Uint64("session", l.ID), slog.String("remote_addr", l.Remote))
}

// down is the end of a session.
type down struct {
	id                uint64
	remote, reason    string
	cause             monitor.Reason
	code              int // the status code of the peer's Close frame; 0: there was none
	lasted, roundTrip time.Duration
}

func (o *output) sessionDown(d *down) {
	o.monitor.Down(d.id, d.cause, d.reason, d.code)
	fields := map[string]any{
		"session": d.id, "remote": d.remote, "reason": d.reason, "cause": d.cause.String(), "seconds": d.lasted.Round(time.Millisecond).Seconds(),
	}
	attrs := []any{slog.Uint64("session", d.id), slog.String("remote_addr", d.remote), slog.String("cause", d.cause.String()), slog.Duration("lasted", d.lasted.Round(time.Millisecond))}
	if d.code != 0 {
		fields["close_code"] = d.code
		attrs = append(attrs, slog.Int("close_code", d.code))
	}
	if d.roundTrip > 0 {
		fields["rtt_ms"] = float64(d.roundTrip.Microseconds()) / 1000
		attrs = append(attrs, slog.Duration("rtt", d.roundTrip))
	}
	o.event("session_down", fields)
	o.mu.Lock()
	o.down = d.reason
	o.mu.Unlock()
	if o.lines != nil {
		o.lines.write(slog.LevelInfo, terminal.Yellow, "session down", ": "+d.remote+": "+d.reason)
		return
	}
	o.logger.Info("session down", append(attrs, slog.String("reason", d.reason))...)
}

// results is stdout. A result that can't be printed ends the command with an error.
type results struct {
	io.Writer
	fail context.CancelCauseFunc
}

func (r results) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if err != nil {
		r.fail(&outputError{"stdout", pathCause(err)})
	}
	return n, err
}

// catchBrokenPipes makes writing to a closed pipe an error like any other. By default
// it ends the process, which suits commands that only print results.
func catchBrokenPipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a child process would inherit Ignore
}

// outputError says that results or the ready file can't be written.
type outputError struct {
	name string
	err  error
}

func (e *outputError) Error() string { return e.name + ": " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// pathCause returns err without the names of the file and the system call.
func pathCause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
