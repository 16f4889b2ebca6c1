package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/shell"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
)

func (p *program) shellCommand() *cli.Command {
	o := &shellOptions{}
	p.targets["shell"] = &o.target
	return &cli.Command{
		Name:      "shell",
		Usage:     "call a gRPC server again and again, from a prompt or a script",
		ArgsUsage: "TARGET",
		UsageText: "wstun shell [flags] TARGET [-c COMMANDS | <SCRIPT]",
		Description: targetDescription + "\n\n" +
			"At a terminal: line editing, history, and completion of commands, names and fields with\n" +
			"Tab; help lists the commands. A lost session is dialed again. Ctrl-C cancels the current\n" +
			"command, Ctrl-D leaves.\n\n" +
			"Otherwise the lines of standard input, or those of -c, are a script: it goes on after a\n" +
			"command that fails, unless --errexit is given, and ends with the status of the last one.\n" +
			"--max-time applies to each command, and to connecting.",
		Flags: slices.Concat([]cli.Flag{
			usage.Strings(&o.commands, "command", "run the lines of `COMMANDS` as a script, in place of standard input; repeatable", "c"),
			usage.Bool(&o.errexit, "errexit", "end a script at the first command that fails, with its status", "e"),
			usage.String(&o.history, "history", "keep the typed lines in `PATH`; none: don't (default: wstun/shell_history in XDG_STATE_HOME or the folder for configuration)", ""),
			usage.Duration(&o.target.Wait, "wait", "let a command fail after `DURATION` while no session is up", tunnel.DefaultWait),
		}, o.target.Endpoint.RetryFlags(), []cli.Flag{
			usage.Strings(&o.rpcHeader, "rpc-header", "send the metadata `'name: value'` with each call; repeatable"),
		}, o.messages.flags(), o.target.Flags(), o.target.Trace.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.shell),
	}
}

// shellOptions are the values of the command line of wstun shell.
type shellOptions struct {
	commands  []string
	errexit   bool
	history   string
	rpcHeader []string
	messages  messageOptions
	target    target.Options
	log       logOptions
}

func (o *shellOptions) parse(in *invocation) error {
	o.target.Calls, o.target.Reconnect = true, true
	if _, err := in.targetArguments(&o.target, 0); err != nil {
		return err
	}
	switch {
	case o.target.Addr == "" && o.target.Endpoint.Accept == "":
		return target.ErrNoTarget
	case o.target.Addr != "" && !target.IsURL(o.target.Addr):
		if err := in.given.Reject("a WebSocket: give its URL", "max-retries"); err != nil {
			return err
		}
	}
	if err := usage.NotNegative("wait", o.target.Wait); err != nil {
		return err
	}
	return o.messages.parse(in)
}

func (p *program) shell(ctx context.Context, o *shellOptions) error {
	s, err := p.newShell(o)
	if err != nil {
		return err
	}
	var console *console
	if len(o.commands) == 0 {
		console = p.newConsole() // before anything is written
	}
	life, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	o.target.Fail = fail
	o.target.TraceOutput = p.traceOutput(p.stderr, o.log.format == "json")
	_, t, err := p.openTarget(life, &o.target, &o.log)
	if err != nil {
		return err
	}
	defer t.Close()
	t.OnReconnect(t.Catalog.Refresh)
	s.Target, s.Ready, s.Metadata = &t.Target, t.Ready, metadata.Join(t.Header, s.Metadata)
	s.Stdout, s.Stderr, s.Secrets = unmasked(p.stdout), p.stderr, &p.secrets
	s.StatusOut, s.Colors, s.StatusColors = unmasked(p.stderr), p.colors(p.stdout), p.colors(p.stderr)
	logger := o.target.Logger
	if console == nil {
		s.Input = shell.NewScript(o.script(p.stdin))
		err = s.Run(life)
	} else {
		console.History = openHistory(o.history, logger)
		fmt.Fprintln(p.stderr, "wstun: connected; help lists the commands, exit or Ctrl-D leaves")
		err = console.run(life, s)
		if herr := console.History.Err(); herr != nil {
			logger.Warn("history not written", slog.Any("err", herr))
		}
	}
	return shellError(life, ctx, err, s.Interactive)
}

// script returns the commands of a shell that is not interactive.
func (o *shellOptions) script(stdin io.Reader) io.Reader {
	if len(o.commands) == 0 {
		return textfile.NewReader(stdin)
	}
	return strings.NewReader(strings.Join(o.commands, "\n"))
}

// newShell returns the shell that the flags describe.
func (p *program) newShell(o *shellOptions) (*shell.Shell, error) {
	header, err := endpoint.Metadata("rpc-header", o.rpcHeader, o.target.Endpoint.ExpandHeaders, o.target.Endpoint.Secrets)
	if err != nil {
		return nil, err
	}
	return &shell.Shell{
		Report:   p.reportInShell,
		Failed:   p.headerHint(&o.target),
		MaxTime:  o.target.MaxTime,
		Metadata: header,
		Settings: shell.Settings{
			Compact: o.messages.onOneLine(p, message.JSON), EmitDefaults: o.messages.emitDefaults, ProtoNames: o.messages.protoNames, Errexit: o.errexit,
			Timestamps: o.messages.timestamps,
		},
		MaxMsgSize:         o.messages.maxMsgSize,
		AllowUnknownFields: o.messages.allowUnknownFields,
	}, nil
}

// reportInShell is report with a hint that fits a shell.
func (p *program) reportInShell(err error) {
	if ne, ok := errors.AsType[*reflection.NameError](err); ok && len(ne.Candidates)+len(ne.Suggestions) == 0 {
		err = &usage.Error{Err: err, Advice: "ls and desc show the names"}
	}
	p.report(err)
}

// openHistory opens the file of --history. If it can't, it logs the error and returns a
// history that is not kept.
func openHistory(path string, logger *slog.Logger) *shell.History {
	if path == "none" {
		return &shell.History{}
	}
	var err error
	if path == "" {
		path, err = defaultHistory()
	}
	h := &shell.History{}
	if err == nil {
		h, err = shell.OpenHistory(path)
	}
	if err != nil {
		logger.Warn("history not read", slog.Any("err", err))
	}
	return h
}

func defaultHistory() (string, error) {
	folder := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(folder) {
		var err error
		if folder, err = os.UserConfigDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(folder, "wstun", "shell_history"), nil
}

// shellError returns the error with which wstun shell ends after err, the result of Run.
// stopped ends with a signal. life ends with it, or when there will be no more sessions.
func shellError(life, stopped context.Context, err error, interactive bool) error {
	ce, ok := errors.AsType[*shell.CommandError](err)
	switch {
	case life.Err() != nil && stopped.Err() == nil:
		return context.Cause(life)
	case ok:
		return &commandError{exitStatus(ce.Err)}
	case stopped.Err() != nil && interactive:
		return nil
	case stopped.Err() != nil:
		return errors.New("stopped by a signal before the end of the script")
	}
	return err
}
