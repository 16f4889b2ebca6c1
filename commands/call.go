package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/reflection"
)

func (p *program) callCommand() *cli.Command {
	return &cli.Command{
		Name:      "call",
		Usage:     "call a method of a gRPC server",
		ArgsUsage: "TARGET METHOD",
		UsageText: "wstun call [flags] TARGET METHOD",
		Description: targetDescription + "\n\n" +
			"METHOD is pkg.Service/Method or pkg.Service.Method, or the end of it, as long as it's plain\n" +
			"which one is meant. A method that takes one message is sent that of -d, or an empty one;\n" +
			"one that takes a stream, those of -d, or of standard input as they come.\n\n" +
			"Responses are printed as they come: on a terminal with line breaks, else one a line.\n" +
			"If the call ends with another status than OK, the exit status is 64 plus its code.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "data", Aliases: []string{"d"}, Usage: "send the messages `DATA`, one after the other; @ for those on standard input, @FILE for those in FILE", EnvVars: env("data")},
			stringFlag("format", "read and write messages as `FORMAT`: json or text", "json"),
			stringsFlag("rpc-header", "send the metadata `'name: value'` with the call; repeatable"),
			boolFlag("allow-unknown-fields", "leave out fields of requests that their message doesn't have"),
			boolFlag("emit-defaults", "print fields that are not set, too"),
			boolFlag("proto-names", "print field names as in the .proto file, not as in JSON"),
			boolFlag("compact", "print each response on one line, on a terminal, too"),
			boolFlag("pretty", "print responses with line breaks, to files and pipes, too"),
			stringFlag("output", "print as `FORMAT`: text (the responses), or json: each call whole, as one line, when it has ended", "text"),
			boolFlag("format-error", "print the status of a call that fails as --format says"),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "print the method, metadata and counts, too", EnvVars: env("verbose")},
			&cli.BoolFlag{Name: "very-verbose", Aliases: []string{"vv"}, Usage: "print timings and sizes, too", EnvVars: env("very-verbose")},
			intFlag("max-msg-sz", "take responses of at most `BYTES`", call.DefaultMaxMsgSize),
			intFlag("count", "end the call after `N` responses, with success; 0: when the server does", 0),
			intFlag("repeat", "make the call `N` times, one after the other, until one fails", 1),
		}, targetFlags()),
		Action: p.call,
	}
}

// calling is one run of wstun call.
type calling struct {
	p      *program
	c      *cli.Context
	target *target
	method *call.Method
	format call.FormatOptions
	opts   call.Options

	verbosity int
	resolved  time.Duration // how long it took to find the method
	printed   int           // responses
}

func (p *program) call(c *cli.Context) error {
	where, args, err := p.targetArguments(c, 1)
	switch {
	case err != nil:
		return err
	case len(args) == 0:
		return &usageError{err: errors.New("no METHOD"), hint: "wstun list TARGET shows the services there, wstun list TARGET SERVICE the methods"}
	case where == "" && c.String("accept") == "":
		return &usageError{err: errors.New("no TARGET before the METHOD " + args[0]), hint: "give the URL of a WebSocket, or host:port of a gRPC server; or wait for a WebSocket with --accept"}
	}
	r := &calling{p: p, c: c}
	if err := r.check(); err != nil {
		return err
	}
	data, err := r.newData()
	if err != nil {
		return err
	}
	ctx, t, err := p.openTarget(c, where, true)
	if err != nil {
		return err
	}
	defer t.close()
	r.target = t
	r.opts.Metadata = metadata.Join(t.header, r.opts.Metadata)
	started := time.Now()
	if r.method, err = t.Method(ctx, args[0]); err != nil {
		return err
	}
	r.resolved = time.Since(started)
	for range c.Int("repeat") {
		if err := r.once(ctx, data); err != nil {
			return err
		}
	}
	return nil
}

// check checks the flags of call alone.
func (r *calling) check() (err error) {
	c := r.c
	if err := checkFormat(c); err != nil {
		return err
	}
	r.format = call.FormatOptions{Format: call.Format(c.String("format")), EmitDefaults: c.Bool("emit-defaults"), ProtoNames: c.Bool("proto-names")}
	if r.format.Compact, err = r.p.compact(c, r.format.Format); err != nil {
		return err
	}
	if output := c.String("output"); output != "text" && output != "json" {
		return usagef("--output %q: want text or json", output)
	} else if output == "json" && typed(r.c, "pretty") {
		return usagef("both --output json, which is one line a call, and --pretty")
	}
	for name, least := range map[string]int{"max-msg-sz": 0, "count": 0, "repeat": 1} {
		if n := c.Int(name); n < least {
			return usagef("--%s %d: want %d or more", name, n, least)
		}
	}
	if r.opts.Metadata, err = grpcMetadata(c, "rpc-header"); err != nil {
		return err
	}
	r.opts.MaxMsgSize, r.opts.Count = c.Int("max-msg-sz"), c.Int("count")
	if c.Bool("verbose") {
		r.verbosity = 1
	}
	if c.Bool("very-verbose") {
		r.verbosity = 2
	}
	return nil
}

// compact reports whether responses are printed on one line. What is typed goes before
// what is set.
func (p *program) compact(c *cli.Context, format call.Format) (bool, error) {
	if typed(c, "pretty") && typed(c, "compact") {
		return false, usagef("both --pretty and --compact")
	}
	pretty := c.Bool("pretty") && !typed(c, "compact")
	return c.Bool("compact") && !typed(c, "pretty") || format == call.JSON && !pretty && !isTerminal(p.stdout), nil
}

// once makes one call.
func (r *calling) once(ctx context.Context, data *requestData) error {
	types := r.method.Types(ctx)
	printer := &call.Printer{Out: r.p.stdout, Types: types, Format: r.format, Verbosity: r.verbosity, Printed: r.printed}
	events := printer.Events()
	if r.c.String("output") == "json" {
		events = (&call.Recorder{Out: r.p.stdout, Types: types, Format: r.format}).Events()
	} else if r.verbosity > 1 {
		fmt.Fprintf(r.p.stdout, "\nConnected in %v, method resolved in %v\n", r.target.connected, r.resolved)
	}
	requests, err := data.requests(ctx, r.method, types)
	if err != nil {
		return err
	}
	result, err := call.Invoke(ctx, r.target.Conn, r.method, requests, &r.opts, events)
	if err != nil {
		return data.explain(err)
	}
	r.printed += result.Received
	if result.Status.Code() == codes.OK {
		return nil
	}
	if r.c.Bool("format-error") {
		r.printStatus(result.Status, types)
	} else {
		printer.Status(r.p.stderr, result.Status)
	}
	return &rpcError{result.Status.Code()}
}

// printStatus prints a status as a message.
func (r *calling) printStatus(s *status.Status, types reflection.TypeResolver) {
	text, err := call.FormatMessage(s.Proto(), types, &r.format)
	if err != nil {
		text = err.Error()
	}
	fmt.Fprintln(r.p.stderr, text)
}

// requestData is where the messages to send come from.
type requestData struct {
	r       *calling
	literal bool   // they stand on the command line
	text    []byte // what they are read from, unless it's standard input
	given   bool   // by a flag: also for methods that take one message
	stdin   bool
}

// newData reads what --data says.
func (r *calling) newData() (*requestData, error) {
	data := r.c.String("data")
	d := &requestData{r: r, given: r.c.IsSet("data")}
	path, isFile := strings.CutPrefix(data, "@")
	switch {
	case !d.given, isFile && path == "":
		d.stdin = true
	case isFile:
		var err error
		if d.text, err = os.ReadFile(path); err != nil {
			return nil, usagef("--data: %w", err)
		}
	default:
		d.literal, d.text = true, []byte(data)
	}
	return d, nil
}

// requests returns those for one call.
func (d *requestData) requests(ctx context.Context, m *call.Method, types reflection.TypeResolver) (call.Requests, error) {
	if !d.given && !m.IsStreamingClient() {
		return call.None, nil
	}
	opts := &call.RequestOptions{AllowUnknownFields: d.r.c.Bool("allow-unknown-fields")}
	if d.stdin && d.r.c.Int("repeat") > 1 {
		if err := d.readAll(ctx); err != nil {
			return nil, err
		}
	}
	var in io.Reader = bytes.NewReader(d.text)
	if d.stdin {
		in = d.r.p.stdin
	}
	opts.Patient = !d.stdin || isFile(in)
	if d.stdin && isTerminal(in) {
		fmt.Fprintf(d.r.p.stderr, "wstun: type messages for %s, Ctrl-D ends them\n", reflection.Name(m.MethodDescriptor))
		opts.OnBad = func(err *call.RequestError) { fmt.Fprintf(d.r.p.stderr, "wstun: not sent: %v\n", err) }
	}
	return call.NewRequests(in, d.r.format.Format, types, opts), nil
}

// readAll reads standard input to its end, for several calls.
func (d *requestData) readAll(ctx context.Context) error {
	read := make(chan error, 1)
	var text []byte
	go func() {
		var err error
		text, err = io.ReadAll(d.r.p.stdin)
		read <- err
	}()
	select {
	case err := <-read:
		d.text, d.stdin = text, false
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// explain says where a message comes from that is no good, and how to mend it.
func (d *requestData) explain(err error) error {
	re, ok := errors.AsType[*call.RequestError](err)
	if !ok {
		return err
	}
	where := strings.TrimPrefix(d.r.c.String("data"), "@")
	switch {
	case d.literal:
		return &usageError{err: fmt.Errorf("--data: %w", re), hint: (&dataError{d.r.method, re}).hint()}
	case where == "":
		where = "standard input"
	}
	return fmt.Errorf("%s: %w", where, &dataError{d.r.method, re})
}

// dataError is a message that is no good for a method.
type dataError struct {
	method *call.Method
	*call.RequestError
}

func (e *dataError) Unwrap() error { return e.RequestError }

func (e *dataError) hint() string {
	return "wstun describe --msg-template shows what there may be in a " + string(e.method.Input().FullName())
}

// isTerminal reports whether somebody reads what is written to f, or types what is
// read from it.
func isTerminal(f any) bool {
	file := fileOf(f)
	return file != nil && term.IsTerminal(int(file.Fd()))
}

// fileOf returns the file that is read or written as f, nil if there is none.
func fileOf(f any) *os.File {
	if r, ok := f.(results); ok {
		f = r.Writer
	}
	file, _ := f.(*os.File)
	return file
}

// isFile reports whether reading r doesn't wait for anybody.
func isFile(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}
