package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
)

func (p *program) callCommand() *cli.Command {
	o := &callOptions{}
	p.targets["call"] = &o.target
	return &cli.Command{
		Name:      "call",
		Usage:     "call a method of a gRPC server",
		ArgsUsage: "TARGET METHOD [JSON]",
		UsageText: "wstun call [flags] TARGET METHOD [JSON]",
		Description: targetDescription + "\n\n" +
			"METHOD is pkg.Service/Method or pkg.Service.Method, or the end of it if only one method\n" +
			"matches. The request is JSON or that of -d, or an empty message. A method that takes a\n" +
			"stream receives the messages of -d, or those of standard input as they arrive.\n\n" +
			"Responses are printed as they arrive: on a terminal with line breaks, otherwise one a\n" +
			"line. If the call ends with a status other than OK, the exit status is 64 plus its code.",
		Flags: slices.Concat([]cli.Flag{
			usage.String(&o.data, "data", "send the messages `DATA`, those in a file with @FILE, or those on standard input with @", "", "d"),
			usage.String(&o.format, "format", "read and write messages as `FORMAT`: json or text", "json"),
			usage.Strings(&o.rpcHeader, "rpc-header", "send the metadata `'name: value'` with the call; repeatable"),
		}, o.messages.flags(), []cli.Flag{
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: a line for each call that has ended", "text"),
			usage.Bool(&o.formatError, "format-error", "print the status of a call that fails as --format says"),
			usage.Bool(&o.verbose, "verbose", "print the method, metadata and counts, too", "v"),
			usage.Bool(&o.veryVerbose, "very-verbose", "print timings and sizes, too", "vv"),
			usage.Int(&o.count, "count", "end the call after `N` responses; 0: when the server ends it", 0),
			usage.Int(&o.repeat, "repeat", "make the call `N` times, one after the other, until one fails", 1),
			usage.Int(&o.retry, "retry", "make a call that ends with UNAVAILABLE before any response, neither headers nor a message, up to `N` more times; the server may have executed it", 0),
		}, o.export.flags("the method and its"), o.target.Flags(), o.target.Trace.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.call),
	}
}

// callOptions are the values of the command line of wstun call.
type callOptions struct {
	method                            string
	data, format, output              string
	dataGiven, dataArgument           bool // dataArgument: it is an argument, not --data
	rpcHeader                         []string
	messages                          messageOptions
	formatError, verbose, veryVerbose bool
	count, repeat, retry              int
	export                            exportOptions
	target                            target.Options
	log                               logOptions
}

func (o *callOptions) parse(in *invocation) error {
	o.target.Calls, o.dataGiven = true, in.given.Set("data")
	args, err := in.targetArguments(&o.target, 2)
	switch {
	case err != nil:
		return err
	case len(args) == 0:
		advice := "wstun list TARGET shows the services there, wstun list TARGET SERVICE the methods"
		if o.target.Addr != "" {
			advice = "to see the services: " + in.p.otherCommand("list")
		}
		return &usage.Error{Err: errors.New("no METHOD"), Advice: advice}
	case o.target.Addr == "" && o.target.Endpoint.Accept == "":
		return &usage.Error{Err: errors.New("no TARGET before the METHOD " + args[0]), Advice: target.NoTargetAdvice}
	}
	o.method = args[0]
	if len(args) == 2 {
		if err := o.takeData(in, args[1]); err != nil {
			return err
		}
	}
	if o.retry > 0 {
		o.target.Reconnect, o.target.Wait = true, tunnel.DefaultWait
		o.target.Endpoint.MaxRetries = -1
	}
	if err := usage.OneOf("format", o.format, "json", "text"); err != nil {
		return err
	}
	if err := usage.OneOf("output", o.output, "text", "json"); err != nil {
		return err
	}
	if o.output == "json" && in.given["pretty"] {
		return usage.Errorf("both --output json, which is one line a call, and --pretty")
	}
	if o.count < 0 {
		return usage.Errorf("--count %d: want 0 or more", o.count)
	}
	if o.retry < 0 {
		return usage.Errorf("--retry %d: want 0 or more", o.retry)
	}
	if o.repeat < 1 {
		return usage.Errorf("--repeat %d: want 1 or more", o.repeat)
	}
	return o.messages.parse(in)
}

// takeData takes an argument after METHOD for the data.
func (o *callOptions) takeData(in *invocation, arg string) error {
	switch {
	case isData(o.method) && !isData(arg):
		return &usage.Error{Err: errors.New("the JSON is before the METHOD"), Advice: in.didYouMean(append(slices.Clone(in.args[:len(in.args)-2]), arg, o.method)...)}
	case !isData(arg) && !json.Valid([]byte(arg)):
		return usage.Errorf("unexpected argument %q", endpoint.Redact(arg))
	case in.given["data"]:
		return usage.Errorf("both --data and JSON after the METHOD: give one of them")
	}
	o.data, o.dataGiven, o.dataArgument = arg, true, true
	return nil
}

// calling is one run of wstun call.
type calling struct {
	p      *program
	o      *callOptions
	target *target.Target
	method *call.Method
	format message.Options
	opts   call.Options
	failed func(*status.Status) // called after printing a status

	colors, statusColors terminal.Colors // of stdout and stderr

	resolving time.Duration // the time that it took to find the method
	printed   int           // responses
}

func (p *program) call(ctx context.Context, o *callOptions) error {
	r := &calling{p: p, o: o, failed: p.headerHint(&o.target)}
	encoding := message.Encoding(o.format)
	r.format = message.Options{
		Encoding: encoding, Compact: o.messages.onOneLine(p, encoding), EmitDefaults: o.messages.emitDefaults, ProtoNames: o.messages.protoNames,
		Note: call.NoteOnce(p.stderr),
	}
	header, err := endpoint.Metadata("rpc-header", o.rpcHeader, o.target.Endpoint.ExpandHeaders, o.target.Endpoint.Secrets)
	if err != nil {
		return err
	}
	data, err := r.newData()
	if err != nil {
		return err
	}
	o.target.TraceOutput = p.traceOutput(p.stderr, o.output == "json" || o.log.format == "json")
	ctx, t, err := p.openTarget(ctx, &o.target, &o.log)
	if err != nil {
		return err
	}
	defer t.Close()
	r.target = t
	r.opts = call.Options{Metadata: metadata.Join(t.Header, header), MaxMsgSize: o.messages.maxMsgSize, MaxResponses: o.count}
	r.colors, r.statusColors = p.colors(p.stdout), p.colors(p.stderr)
	started := time.Now()
	if err := r.resolve(ctx); err != nil {
		return r.explainName(ctx, err)
	}
	r.resolving = time.Since(started)
	if err := r.checkRetry(data); err != nil {
		return err
	}
	if err := o.export.write([]protoreflect.Descriptor{r.method.MethodDescriptor}); err != nil {
		return err
	}
	if o.verbosity() > 0 && inHandshake(&o.target) {
		fmt.Fprintln(p.stderr, "wstun: note: --header was sent in the handshake, not as metadata of the call; --rpc-header sends metadata")
	}
	for range o.repeat {
		if err := r.once(ctx, data); err != nil {
			return err
		}
	}
	return nil
}

// verbosity returns 2 for --very-verbose, 1 for --verbose, and otherwise 0.
func (o *callOptions) verbosity() int {
	switch {
	case o.veryVerbose:
		return 2
	case o.verbose:
		return 1
	}
	return 0
}

// once makes one call.
func (r *calling) once(ctx context.Context, data *requestData) error {
	types := r.method.Types(ctx)
	printer := &call.Printer{
		Out: unmasked(r.p.stdout), Types: types, Format: r.format, Verbosity: r.o.verbosity(), Printed: r.printed,
		Colors: r.colors, StatusColors: r.statusColors, Timestamps: r.o.messages.timestamps, Secrets: r.o.target.Endpoint.Secrets,
	}
	events := printer.Events()
	if r.o.output == "json" {
		events = (&call.Recorder{Out: unmasked(r.p.stdout), Types: types, Format: r.format, Timestamps: r.o.messages.timestamps, Secrets: r.o.target.Endpoint.Secrets}).Events()
	} else if r.o.veryVerbose {
		fmt.Fprintf(r.p.stdout, "\nConnected in %v, method resolved in %v\n", r.target.Connecting, r.resolving)
	}
	result, err := r.invoke(ctx, data, types, events)
	if err != nil {
		return err
	}
	r.printed += result.Received
	if result.Status.Code() == codes.OK {
		return nil
	}
	if r.o.formatError {
		r.printStatus(ctx, result.Status, types)
	} else {
		printer.Status(ctx, unmasked(r.p.stderr), result.Status)
		r.failed(result.Status)
	}
	return &rpcError{result.Status.Code()}
}

// printStatus prints a status as a message.
func (r *calling) printStatus(ctx context.Context, s *status.Status, types reflection.TypeResolver) {
	text, err := message.Format(ctx, s.Proto(), types, &r.format)
	if err != nil {
		text = err.Error()
	}
	fmt.Fprintln(r.p.stderr, text)
}
