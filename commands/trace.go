package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel/netdiag"
)

func (p *program) traceCommand() *cli.Command {
	o := &traceOptions{}
	return &cli.Command{
		Name:      "trace",
		Usage:     "print or convert a recording, or the events of a trace",
		ArgsUsage: "[FILE]",
		UsageText: "wstun trace [flags] [FILE | --attach PID]",
		Description: "Reads a recording of --record, or the events of --trace or --trace-messages with\n" +
			"--output json or --log-format json, from FILE or standard input, and prints them as lines.\n" +
			"Other lines are ignored. With --record, writes what a recording has to another one instead,\n" +
			"without the calls that --filter leaves out and the values that --redact hides.\n\n" +
			"With --attach, follows the calls of a running wstun serve, dial or tap: those of\n" +
			"connections that clients begin from then on.",
		Flags: append(append(o.attach.flags(),
			usage.Bool(&o.reconnect, "reconnect", "with --attach: make the clients begin new connections now; their open calls go on"),
			usage.Bool(&o.follow, "follow", "wait for more at the end of FILE, until stopped", "f"),
			usage.String(&o.output, "output", "print as `FORMAT`: text or json", "text"),
		), o.trace.PrintFlags()...),
		Action: action(p, o, p.trace),
	}
}

// traceOptions are the values of the command line of wstun trace.
type traceOptions struct {
	file   string // empty: standard input
	follow bool
	output string
	trace  tracing.Options

	attach    attachOptions
	reconnect bool
}

func (o *traceOptions) parse(in *invocation) (err error) {
	if o.file, err = in.argument(); err != nil {
		return err
	}
	if o.file == "-" {
		o.file = "" // standard input
	}
	o.attach.secrets = in.secrets
	switch {
	case o.attach.attach != "" && o.file != "":
		return usage.Errorf("both FILE and --attach %s", o.attach.attach)
	case o.attach.attach != "":
		if err := in.given.Reject("FILE", "follow"); err != nil {
			return err
		}
	default:
		if err := in.given.Reject("--attach", "reconnect", "admin-token-file"); err != nil {
			return err
		}
	}
	if target.IsURL(o.file) {
		return &usage.Error{
			Err:    fmt.Errorf("%s is not a file of events", o.file),
			Advice: "to trace a session while it happens, use wstun dial --trace " + o.file + ", or wstun tap between its ends",
		}
	}
	if o.follow && o.file == "" {
		return usage.Errorf("--follow without FILE: standard input is read to its end in any case")
	}
	return usage.OneOf("output", o.output, "text", "json")
}

func (p *program) trace(ctx context.Context, o *traceOptions) error {
	p.pipes = true
	if o.attach.attach != "" {
		return p.traceRunning(ctx, o)
	}
	in := p.stdin
	if o.file != "" {
		file, err := os.Open(o.file)
		if err != nil {
			return usage.Errorf("%s: %w", o.file, pathCause(err))
		}
		defer file.Close()
		in = file
	}
	if isSameFile(in, o.trace.Record) {
		return usage.Errorf("--record %s is the file to read", o.trace.Record)
	}
	out, err := p.printed(o, "warn")
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- o.trace.Print(ctx, in, o.follow, out) }()
	select {
	case err := <-done:
		if err == nil || errors.As(err, new(*usage.Error)) {
			return err
		}
		return fmt.Errorf("%s: %w", cmp.Or(o.file, "standard input"), err)
	case <-ctx.Done():
		if !o.follow {
			return nil // a Read of standard input may go on
		}
		return <-done
	}
}

// printed returns the output of wstun trace, with a log from level up.
func (p *program) printed(o *traceOptions, level string) (out *tracing.Output, err error) {
	out = p.traceOutput(p.stdout, o.output == "json")
	out.Summary, out.Stdout, o.trace.Given = true, fileOf(p.stdout), p.given
	out.Logger, err = p.newLogger(&logOptions{level: level})
	return out, err
}

// traceRunning prints the calls of a running process until it ends, or ctx does.
func (p *program) traceRunning(ctx context.Context, o *traceOptions) error {
	out, err := p.printed(o, "info")
	if err != nil {
		return err
	}
	clients, err := o.attach.clients(ctx, p)
	if err != nil {
		return err
	}
	client, t := clients[0], &o.trace
	if err := t.CheckPrint(); err != nil {
		return err
	}
	events, open, err := client.Events(ctx, tracing.AttachOptions{
		Messages: t.Messages || t.Full || t.Record != "" || len(t.Filter) > 0, // which may name fields
		Filter:   t.Filter, Redact: t.Redact,
	})
	if err != nil {
		return err
	}
	defer events.Close()
	if o.reconnect {
		if err := client.Reconnect(ctx); err != nil {
			return err
		}
	}
	out.Logger.Info("attached", slog.String("process", client.Name()))
	if calls := "calls are"; open > 0 {
		if open == 1 {
			calls = "call is"
		}
		hint := "their connections are older than the trace; --reconnect makes clients begin new ones"
		if o.reconnect {
			hint = "they began before the trace"
		}
		out.Logger.Warn(fmt.Sprintf("%d open %s not in the trace", open, calls), slog.String("hint", hint)) //nolint:sloglint // for people
	}
	in := &untilGone{r: events}
	err = t.Print(ctx, in, true, out)
	switch {
	case err != nil || ctx.Err() != nil:
		return err
	case in.err != nil:
		return fmt.Errorf("%s: the process was killed, or its events weren't read for %v: %w", client.Name(), web.WriteTimeout, netdiag.Cause(in.err))
	}
	out.Logger.Info("the process has ended", slog.String("process", client.Name()))
	return nil
}

// untilGone reads from a process. When that ends, in whatever way, there is no more to read.
type untilGone struct {
	r   io.Reader
	err error // why there is no more, unless the process has ended in order
}

func (u *untilGone) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.err, err = err, io.EOF
	}
	return n, err
}

// isSameFile reports whether r is the regular file at path.
func isSameFile(r io.Reader, path string) bool {
	file := fileOf(r)
	if file == nil {
		return false
	}
	in, err := file.Stat()
	if err != nil || !in.Mode().IsRegular() {
		return false
	}
	out, err := os.Stat(path)
	return err == nil && os.SameFile(in, out)
}
