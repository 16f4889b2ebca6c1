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

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/shell"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
)

func (p *program) shellCommand() *cli.Command {
	return &cli.Command{
		Name:      "shell",
		Usage:     "call a gRPC server again and again, from a prompt or a script",
		ArgsUsage: "TARGET",
		UsageText: "wstun shell [flags] TARGET [<SCRIPT]",
		Description: targetDescription + "\n\n" +
			"At a terminal: line editing, history, and completion of commands, names and fields with\n" +
			"Tab; help lists the commands. A session that is lost is dialed again. Ctrl-C cancels what\n" +
			"is under way, Ctrl-D leaves.\n\n" +
			"Otherwise the lines of standard input are a script: it goes on behind a command that\n" +
			"fails, unless --errexit is given, and ends with the status of the last one. --max-time\n" +
			"is for each command, and for connecting.",
		Flags: slices.Concat([]cli.Flag{
			&cli.BoolFlag{Name: "errexit", Aliases: []string{"e"}, Usage: "end a script at the first command that fails, with its status", EnvVars: env("errexit")},
			stringFlag("history", "keep the lines that are typed in `PATH`; none: don't (default: wstun/shell_history in XDG_STATE_HOME or the folder for configuration)", ""),
			durationFlag("wait", "have a command fail after `DURATION` while no session is up", tunnel.DefaultWait),
		}, retryFlags(), []cli.Flag{
			stringsFlag("rpc-header", "send the metadata `'name: value'` with each call; repeatable"),
			boolFlag("allow-unknown-fields", "leave out fields of requests that their message doesn't have"),
			boolFlag("emit-defaults", "print fields that are not set, too"),
			boolFlag("proto-names", "print field names as in the .proto file, not as in JSON"),
			boolFlag("compact", "print each response on one line, on a terminal, too"),
			boolFlag("pretty", "print responses with line breaks, to files and pipes, too"),
			intFlag("max-msg-sz", "take responses of at most `BYTES`", call.DefaultMaxMsgSize),
		}, targetFlags()),
		Action: p.shell,
	}
}

func (p *program) shell(c *cli.Context) error {
	where, _, err := p.targetArguments(c, 0)
	switch {
	case err != nil:
		return err
	case where == "" && c.String("accept") == "":
		return &usageError{err: errors.New("no TARGET"), hint: "give the URL of a WebSocket, or host:port of a gRPC server; or wait for a WebSocket with --accept"}
	case where != "" && !strings.Contains(where, "://"):
		err = rejectFlags(c, "a WebSocket: give its URL", "max-retries")
	}
	if err != nil {
		return err
	}
	s, err := p.newShell(c)
	if err != nil {
		return err
	}
	console := p.newConsole() // before anything is written
	life, fail := context.WithCancelCause(c.Context)
	defer fail(nil)
	l := &link{
		life: life, fail: fail, wait: c.Duration("wait"),
		maxRetries: c.Int("max-retries"), maxRetryInterval: c.Duration("max-retry-interval"),
		say: func(format string, args ...any) { fmt.Fprintf(p.stderr, "wstun: "+format+"\n", args...) },
	}
	_, t, err := p.openTargetWith(c, l, where, true)
	if err != nil {
		return err
	}
	defer t.close()
	l.onUp(t.Catalog.Refresh)
	s.Target, s.Ready, s.Metadata = &t.Target, l.ready, metadata.Join(t.header, s.Metadata)
	s.Stdout, s.Stderr = p.stdout, p.stderr
	if console == nil {
		s.Input = shell.NewScript(p.stdin)
		err = s.Run(life)
	} else {
		console.History = openHistory(c, t.logger)
		fmt.Fprintln(p.stderr, "wstun: connected; help lists the commands, exit or Ctrl-D leaves")
		err = console.run(life, s)
		if herr := console.History.Err(); herr != nil {
			t.logger.Warn("history not written", slog.Any("err", herr))
		}
	}
	return shellError(life, c.Context, err, s.Interactive)
}

// newShell checks the flags of shell alone.
func (p *program) newShell(c *cli.Context) (*shell.Shell, error) {
	if err := notNegative(c, "wait"); err != nil {
		return nil, err
	}
	if err := checkRetries(c); err != nil {
		return nil, err
	}
	if n := c.Int("max-msg-sz"); n < 0 {
		return nil, usagef("--max-msg-sz %d: want 0 or more", n)
	}
	maxTime, err := parseMaxTime(c.String("max-time"))
	if err != nil {
		return nil, err
	}
	header, err := grpcMetadata(c, "rpc-header")
	if err != nil {
		return nil, err
	}
	compact, err := p.compact(c, call.JSON)
	if err != nil {
		return nil, err
	}
	return &shell.Shell{
		Report:   func(err error) { reportInShell(p.stderr, err) },
		MaxTime:  maxTime,
		Metadata: header,
		Settings: shell.Settings{
			Compact: compact, EmitDefaults: c.Bool("emit-defaults"), ProtoNames: c.Bool("proto-names"), Errexit: c.Bool("errexit"),
		},
		MaxMsgSize:         c.Int("max-msg-sz"),
		AllowUnknownFields: c.Bool("allow-unknown-fields"),
	}, nil
}

// reportInShell is report with a hint at what there is in a shell.
func reportInShell(w io.Writer, err error) {
	if ne, ok := errors.AsType[*reflection.NameError](err); ok && len(ne.Candidates)+len(ne.Suggestions) == 0 {
		err = &shell.UsageError{Err: err, Advice: "ls and desc tell what there is"}
	}
	report(w, err)
}

// openHistory opens that of --history. Without it the shell does as well.
func openHistory(c *cli.Context, logger *slog.Logger) *shell.History {
	path := c.String("history")
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

// shellError is how wstun shell ends after err, which Run has returned. life has ended
// if there is no server any more, asked if it was stopped.
func shellError(life, asked context.Context, err error, interactive bool) error {
	ce, ok := errors.AsType[*shell.CommandError](err)
	switch {
	case life.Err() != nil && asked.Err() == nil:
		return context.Cause(life) // no session can be had any more
	case ok:
		return &commandError{exitStatus(ce.Err)}
	case asked.Err() != nil && interactive:
		return nil
	case asked.Err() != nil:
		return errors.New("stopped by a signal before the end of the script")
	}
	return err
}
