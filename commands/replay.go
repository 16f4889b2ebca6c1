package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/replay"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
)

func (p *program) replayCommand() *cli.Command {
	o := &replayOptions{}
	return &cli.Command{
		Name:      "replay",
		Usage:     "make the calls of a recording again and compare the responses",
		ArgsUsage: "FILE TARGET",
		UsageText: "wstun replay [flags] FILE TARGET",
		Description: "FILE is a recording; - is standard input. " + targetDescription + "\n\n" +
			"The calls are made in the recorded order: each, and each request of a stream, when everything\n" +
			"that was received before it has arrived again. Calls that can't be made as recorded are\n" +
			"skipped: those that were cut, or whose requests aren't in the recording as a whole. Calls of\n" +
			"gRPC's own services are left out, unless a --filter names methods.\n\n" +
			"Compared are the status with its message and details, the number of responses, and each\n" +
			"field. PATH is the path of a field without indexes and keys, such as key.secret or\n" +
			"'*.secret', also of a field with this type, such as google.protobuf.Timestamp; or status,\n" +
			"status.message, responses, header.NAME or trailer.NAME. METHOD:PATH is for the methods that\n" +
			"match. A stream's responses in any order are --unordered METHOD:responses.\n\n" +
			"The exit status is 0 if all calls are the same, 1 if any differs, 4 without a connection to\n" +
			"TARGET, and 5 if any call failed or couldn't be made.",
		Flags: slices.Concat([]cli.Flag{
			usage.Strings(&o.filter, "filter", "make only calls that fulfil the `TERMS`, such as 'Hub/* status!=OK'; repeatable"),
			usage.Strings(&o.ignore, "ignore", "don't compare the fields at `PATH`; repeatable"),
			usage.Strings(&o.unordered, "unordered", "compare the repeated field at `PATH` in any order; repeatable"),
			usage.Bool(&o.compareMetadata, "compare-metadata", "compare the metadata of responses, too"),
			usage.String(&o.speed, "speed", "make the calls at `N` times the recorded speed; 0: as soon as possible", "0"),
			usage.Duration(&o.timeout, "timeout", "wait up to `DURATION` longer for a response than the recording did", replay.DefaultTimeout),
			usage.Strings(&o.rpcHeader, "rpc-header", "send the metadata `'name: value'` with each call, in place of the recorded value; repeatable"),
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: one line a call and one for the summary", "text"),
			usage.Bool(&o.verbose, "verbose", "print the calls that are the same or skipped, too", "v"),
		}, o.target.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.replay),
	}
}

// replayOptions are the values of the command line of wstun replay.
type replayOptions struct {
	file                      string // "-": standard input
	filter, ignore, unordered []string
	compareMetadata, verbose  bool
	speed, output             string
	rate                      float64 // of speed
	timeout                   time.Duration
	rpcHeader                 []string
	target                    target.Options
	log                       logOptions

	rules *replay.Rules
}

func (o *replayOptions) parse(in *invocation) (err error) {
	if len(in.args) == 0 || len(in.args) == 1 && (target.IsURL(in.args[0]) || strings.HasPrefix(in.args[0], "@")) {
		return &usage.Error{Err: errors.New("no FILE"), Advice: "wstun replay FILE TARGET makes the calls of the recording in FILE"}
	}
	if target.IsURL(in.args[0]) || len(in.args) == 2 && target.IsTarget(in.args[0]) && !target.IsTarget(in.args[1]) {
		return &usage.Error{Err: fmt.Errorf("%s is not a FILE", endpoint.Redact(in.args[0])), Advice: in.didYouMean(slices.Concat(in.args[1:2], in.args[:1], in.args[2:])...)}
	}
	o.file = in.args[0]
	o.target.Calls = true
	rest := *in
	rest.before, rest.args = in.args[:1], in.args[1:]
	if _, err = rest.targetArguments(&o.target, 0); err != nil {
		return err
	}
	if o.target.Addr == "" && o.target.Endpoint.Accept == "" {
		return target.ErrNoTarget
	}
	if o.rules, err = replay.ParseRules(o.ignore, o.unordered); err != nil {
		return err
	}
	if o.rate, err = parseSpeed(o.speed); err != nil {
		return err
	}
	if o.timeout <= 0 {
		return usage.Errorf("--timeout %v: want more than 0", o.timeout)
	}
	return usage.OneOf("output", o.output, "text", "json")
}

// parseSpeed parses the value of --speed.
func parseSpeed(s string) (float64, error) {
	speed, err := strconv.ParseFloat(s, 64)
	if err != nil || !(speed >= 0 && speed <= maxSpeed && (speed == 0 || speed >= 1/maxSpeed)) {
		return 0, usage.Errorf("--speed %q: want a number such as 1, 2 or 0.5, or 0", s)
	}
	return speed, nil
}

// maxSpeed is the largest value of --speed.
const maxSpeed = 1e6

// The exit statuses of replay, besides those of all commands.
const (
	exitDiffers = 1
	exitFailed  = 5
)

// replayError says that calls differ, have failed, or weren't made. err is nil if the
// results say so.
type replayError struct {
	status int
	err    error
}

func (e *replayError) Error() string { return e.err.Error() }
func (e *replayError) Unwrap() error { return e.err }

func (p *program) replay(ctx context.Context, o *replayOptions) error {
	header, err := endpoint.Metadata("rpc-header", o.rpcHeader, o.target.Endpoint.ExpandHeaders, o.target.Endpoint.Secrets)
	if err != nil {
		return err
	}
	rec, err := p.readRecording(ctx, o.file)
	if err != nil {
		return err
	}
	files, err := reflection.FromFiles(ctx, rec.Files.Set())
	if err != nil {
		return err
	}
	known := reflection.FromSet(files)
	calls, err := o.choose(rec.Calls, reflection.NewCatalog(known)) //nolint:contextcheck // each message has a time limit
	if err != nil {
		return err
	}
	if n := rec.Lost.Calls; n > 0 {
		fmt.Fprintf(p.stderr, "wstun: note: there was no room for %d calls in the recording\n", n)
	}
	o.target.Known = known
	ctx, t, err := p.openTarget(ctx, &o.target, &o.log)
	if err != nil {
		if exitStatus(err) == exitError {
			return &replayError{exitNoSession, err}
		}
		return err
	}
	defer t.Close()
	printer := replay.NewPrinter(p.stdout, calls)
	printer.JSON, printer.Verbose = o.output == "json", o.verbose
	summary := replay.Run(ctx, calls, &replay.Options{
		Conn: t.Conn, Catalog: t.Catalog, Metadata: metadata.Join(t.Header, header), Rules: o.rules, CompareMetadata: o.compareMetadata,
		Speed: o.rate, Timeout: o.timeout, Report: printer.Result,
	})
	printer.Summary(summary)
	return p.conclude(ctx, o, summary)
}

// choose returns the calls that --filter selects, or an error if no call can be made.
func (o *replayOptions) choose(all []*recording.Call, catalog *reflection.Catalog) (calls []*recording.Call, err error) {
	selector, err := tracing.NewSelector(o.filter, catalog)
	if err != nil {
		return nil, err
	}
	problem := ""
	for _, c := range all {
		if selector.Selects(c) {
			calls = append(calls, c)
			problem = cmp.Or(problem, c.Problem())
		}
	}
	switch name := inputName(o.file); {
	case len(all) == 0:
		return nil, usage.Errorf("%s: no calls in the recording", name)
	case len(calls) == 0 && len(o.filter) > 0:
		return nil, usage.Errorf("%s: none of the %d calls fulfils --filter", name, len(all))
	case len(calls) == 0:
		return nil, &usage.Error{Err: fmt.Errorf("%s: only calls of gRPC's own services", name), Advice: "--filter '*' makes them, too"}
	case !slices.ContainsFunc(calls, func(c *recording.Call) bool { return c.Problem() == "" }):
		return nil, usage.Errorf("%s: none of the %d calls can be made again: %s", name, len(calls), problem)
	}
	return calls, nil
}

// conclude returns the error for a summary. It prints a hint to ignore the differences.
func (p *program) conclude(ctx context.Context, o *replayOptions, s *replay.Summary) error {
	if len(s.Ignore) > 0 && o.output == "text" {
		fmt.Fprintf(p.stderr, "wstun: hint: %s would ignore all differences\n", replay.Flags(s.Ignore))
	}
	switch {
	case ctx.Err() != nil && s.NotMade > 0:
		err := errors.New("stopped before all calls were made")
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) { // no signal
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return &replayError{exitFailed, err}
	case s.Failed+s.NotMade > 0:
		return &replayError{status: exitFailed}
	case s.Differ > 0:
		return &replayError{status: exitDiffers}
	}
	return nil
}

// readRecording reads a recording in a file, or in standard input if the path is "-".
// Errors are usage errors.
func (p *program) readRecording(ctx context.Context, path string) (*recording.Recording, error) {
	in := p.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, usage.Errorf("%s: %w", path, pathCause(err))
		}
		defer file.Close()
		in = file
	}
	type result struct {
		*recording.Recording
		err error
	}
	done := make(chan result, 1)
	go func(in io.Reader) {
		rec, err := recording.Read(in)
		done <- result{rec, err}
	}(in)
	select {
	case r := <-done:
		switch {
		case errors.Is(r.err, recording.ErrNotRecording):
			return nil, &usage.Error{Err: fmt.Errorf("%s: %w", inputName(path), r.err), Advice: "wstun dial, serve and tap make recordings with --record FILE"}
		case r.err != nil:
			return nil, usage.Errorf("%s: %w", inputName(path), pathCause(r.err))
		}
		return r.Recording, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx) // a Read of standard input may go on
	}
}

func inputName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}
