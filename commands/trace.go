package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
)

func (p *program) traceCommand() *cli.Command {
	o := &traceOptions{}
	return &cli.Command{
		Name:      "trace",
		Usage:     "print or convert a recording, or the events of a trace",
		ArgsUsage: "[FILE]",
		UsageText: "wstun trace [flags] [FILE]",
		Description: "Reads a recording of --record, or the events of --trace or --trace-messages with\n" +
			"--output json or --log-format json, from FILE or standard input, and prints them as lines.\n" +
			"Other lines are ignored. With --record, writes what a recording has to another one instead,\n" +
			"without the calls that --filter leaves out and the values that --redact hides.",
		Flags: append([]cli.Flag{
			usage.Bool(&o.follow, "follow", "wait for more at the end of FILE, until stopped", "f"),
			usage.String(&o.output, "output", "print as `FORMAT`: text or json", "text"),
		}, o.trace.PrintFlags()...),
		Action: action(p, o, p.trace),
	}
}

// traceOptions are the values of the command line of wstun trace.
type traceOptions struct {
	file   string // empty: standard input
	follow bool
	output string
	trace  tracing.Options
}

func (o *traceOptions) parse(in *invocation) (err error) {
	if o.file, err = in.argument(); err != nil {
		return err
	}
	if o.file == "-" {
		o.file = "" // standard input
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
	out := p.traceOutput(p.stdout, o.output == "json")
	var err error
	if out.Logger, err = p.newLogger(&logOptions{level: "warn", format: "text"}); err != nil {
		return err
	}
	out.Summary, out.Stdout, o.trace.Given = true, fileOf(p.stdout), p.given
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
