// Package commands is wstun's command line.
//
// Each command is a file: its flags, the struct of their values, the function that
// parses the command line into it, and the command itself. Only this file, that of
// named targets, and the commands that complete command lines and print help, use
// cli.Context. Each flag has a group in groups.go, each command examples in examples.go, and
// both are in REFERENCE.md.
//
// The rules of the output: stdout is for results, stderr for everything else. An error
// is one line after "wstun: ", and advice one line after "wstun: hint: ". With --output
// json, stdout has one JSON object a line and nothing else.
package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/grpclog"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// program is one run of wstun: the state that all subcommands share.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer               // cleaned
	fail           context.CancelCauseFunc // ends the run in order, with an error
	secrets        escape.Secrets          // of the command line, the environment and the token's file
	grpcLog        grpcLog
	named          namedTarget
	given          usage.Given // set by invocation

	// pipes is set by commands that only print results: a closed pipe then ends them
	// without a message.
	pipes bool

	// words are the command line after the command, as given, and line is their meaning.
	words []string
	line  line

	out *output // of the events; nil: the command has none

	color   string   // --color
	restore []func() // undo changes of terminals, the last one first

	// command is the part of the command line after "--".
	command    []string
	hasCommand bool

	targets map[string]*target.Options // of each command with a TARGET, by its name

	parsed func(options any) // for completion and tests: receives the options, and the command doesn't run
}

// Main runs wstun with args, of which the first is the program's name, and
// returns its exit status. The end of ctx asks it to stop in order.
//
// Environment variables WSTUN_… that are empty count as unset, for wstun and for the
// command that it starts.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	unsetEmptyVariables()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := &program{stdin: stdin, fail: fail}
	grpclog.SetLoggerV2(&p.grpcLog) // otherwise grpc-go logs to stderr
	log.SetOutput(io.Discard)       // net/http's clients log problems there that their errors report
	p.stdout, p.stderr = cleaned{results{stdout, fail}, &p.secrets}, cleaned{stderr, &p.secrets}
	if i := slices.Index(args, "--"); i >= 0 {
		args, p.command, p.hasCommand = args[:i], args[i+1:], true
		p.stdout = stdout // unchanged, because the command writes there
	}
	p.addSecrets(args)
	defer p.restoreTerminals()
	err := p.run(ctx, p.app(), args)
	if oe, ok := errors.AsType[*outputError](context.Cause(ctx)); ok {
		err = oe
		if p.pipes && netdiag.Is(oe, syscall.EPIPE) {
			err = &commandError{statusSignal + int(syscall.SIGPIPE)} // silently, as the signal would
		}
	} else if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause // of fail
	}
	return p.report(err)
}

func (p *program) restoreTerminals() {
	for _, undo := range slices.Backward(p.restore) {
		undo()
	}
}

func unsetEmptyVariables() {
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); value == "" && strings.HasPrefix(name, "WSTUN_") {
			_ = os.Unsetenv(name)
		}
	}
}

// addSecrets adds the passwords and queries of the URLs in args, even of mistyped ones, and
// of proxies. Package endpoint adds the other secrets.
func (p *program) addSecrets(args []string) {
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			_, arg, _ = strings.Cut(arg, "=")
		}
		if !strings.Contains(arg, ": ") && !strings.Contains(arg, "{") { // neither a header nor a message
			p.secrets.AddURL(arg)
		}
	}
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			p.secrets.AddURL(value)
		}
	}
}

// disableCLIHelp turns cli's own help off, which is the same for all Apps.
var disableCLIHelp = sync.OnceFunc(func() { cli.HelpFlag = nil })

func (p *program) app() *cli.App {
	disableCLIHelp()
	p.targets, p.named = map[string]*target.Options{}, namedTarget{}
	app := &cli.App{
		Name:      "wstun",
		Usage:     "gRPC through the WebSocket session between a Hub and its Workers",
		UsageText: "wstun COMMAND [flags] [arguments]",
		Description: "wstun serve is the gRPC server end of a session, wstun dial the gRPC client end. " +
			"Either can dial the WebSocket or accept it.",
		Commands: slices.Concat(
			category("Sessions", p.serveCommand(), p.dialCommand(), p.tapCommand(), p.relayCommand(), p.workersCommand(), p.checkCommand()),
			category("Calls", p.listCommand(), p.describeCommand(), p.callCommand(), p.shellCommand()),
			category("Running processes", p.statusCommand(), p.inspectCommand()),
			category("Traces and recordings", p.traceCommand(), p.replayCommand()),
			category("More", p.demoCommand(), p.configCommand(), p.completionCommand(), p.manCommand(), p.versionCommand(), p.helpCommand()),
			[]*cli.Command{p.completeCommand()},
		),
		Flags: append(helpFlags(), &cli.BoolFlag{Name: "version", Usage: "print the version"}),
		// Runs without a command.
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				p.printVersion()
				return nil
			}
			if p.hasCommand {
				return &usage.Error{Err: errors.New("no command before --"), Advice: "see wstun --help"}
			}
			return p.printHelp(c.App, nil, false)
		},
		Reader:                    p.stdin,
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // -H 'Accept: a, b' is one header
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              p.onUsageError,
		InvalidFlagAccessHandler:  func(_ *cli.Context, name string) { panic("no flag " + name) }, //nolint:forbidigo // a mistake in this package
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = p.onUsageError // the App's applies to the root alone
		cmd.HideHelpCommand = true
		if len(cmd.Flags) > 0 && !cmd.Hidden && cmd.Name != "demo" {
			cmd.Flags = append(cmd.Flags, p.colorFlag())
		}
		if targetIndex(cmd) >= 0 {
			cmd.Flags = append(cmd.Flags, p.named.flags()...)
			p.named.commands = append(p.named.commands, cmd)
		}
		if !cmd.SkipFlagParsing {
			cmd.Flags = append(cmd.Flags, helpFlags()...)
		}
	}
	return app
}

// category sets the category of commands in the help.
func category(name string, commands ...*cli.Command) []*cli.Command {
	for _, cmd := range commands {
		cmd.Category = name
	}
	return commands
}

// invocation is one use of a command.
type invocation struct {
	cmd     string
	args    []string // without flags
	given   usage.Given
	secrets *escape.Secrets // of the program

	p       *program
	command *cli.Command
	before  []string // the arguments before args
}

// action returns the action of a command with options: it parses the command line and
// runs the command.
func action[O interface{ parse(in *invocation) error }](p *program, o O, run func(context.Context, O) error) cli.ActionFunc {
	return p.action(func(ctx context.Context, in *invocation) error {
		if err := o.parse(in); err != nil {
			return err
		}
		if p.parsed != nil {
			p.parsed(o)
			return nil
		}
		return run(ctx, o)
	})
}

// action returns the action of a command. It checks the form of the command line, and
// adds a hint to usage errors without one.
func (p *program) action(run func(ctx context.Context, in *invocation) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Bool("help") {
			return p.printHelp(c.App, c.Command, c.Bool("all"))
		}
		in, err := p.invocation(c)
		if err == nil {
			err = run(c.Context, in)
		}
		if ue, ok := errors.AsType[*usage.Error](err); ok {
			p.locate(ue)
			ue.Advice = cmp.Or(ue.Advice, helpHint(c.App, c.Command))
		}
		return err
	}
}

// invocation reads the command line.
func (p *program) invocation(c *cli.Context) (*invocation, error) {
	p.given = given(c)
	in := &invocation{cmd: c.Command.Name, args: c.Args().Slice(), given: p.given, secrets: &p.secrets, p: p, command: c.Command}
	if slices.Contains(in.args, "") { // such as "$URL" without that variable
		return nil, usage.Errorf("an argument is empty")
	}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "data" || !in.given[name] { // data is a message, which may be empty
			continue
		}
		values := []string{c.String(name)}
		if _, ok := f.(cli.DocGenerationSliceFlag); ok {
			values = c.StringSlice(name)
		}
		if slices.Contains(values, "") { // such as "$FILE" without that variable
			return nil, &usage.Error{Err: fmt.Errorf("--%s is empty", name), Advice: "leave it out, or set the variable that its value comes from"}
		}
	}
	if in.given["all"] && in.cmd != "help" {
		return nil, usage.Errorf("--all is for --help")
	}
	if p.hasCommand && in.cmd != "dial" {
		return nil, usage.Errorf("wstun %s runs no command: there must be nothing after --", in.cmd)
	}
	if err := in.rejectBoolValue(); err != nil {
		return nil, err
	}
	if err := p.applyTarget(c, in); err != nil {
		return nil, err
	}
	if err := usage.OneOf("color", cmp.Or(p.color, "auto"), terminal.Modes...); err != nil {
		return nil, err
	}
	usage.Store(c.Command.Flags)
	return in, nil
}

// given returns the flags that are set.
func given(c *cli.Context) usage.Given {
	g := usage.Given{}
	for _, name := range c.LocalFlagNames() {
		g[name] = false
	}
	if os.Getenv("WSTUN_TOKEN") != "" { // which stands in for the flag
		g[tokenFlag] = false
	}
	line := *c
	line.Command = nil // it knows the flags that variables have set
	for _, name := range line.LocalFlagNames() {
		g[name] = true
	}
	return g
}

// arguments returns at most the given number of arguments.
func (in *invocation) arguments(most int) ([]string, error) {
	if len(in.args) > most {
		return nil, usage.Errorf("unexpected argument %q", endpoint.Redact(in.args[most]))
	}
	return in.args, nil
}

// argument returns the argument, "" without one.
func (in *invocation) argument() (string, error) {
	args, err := in.arguments(1)
	if len(args) == 0 {
		return "", err
	}
	return args[0], err
}

// url returns the URL, "" without one.
func (in *invocation) url() (string, error) {
	arg, err := in.argument()
	if err != nil && in.cmd == "dial" && !in.p.hasCommand {
		if words := meantDial(in.command.Flags, in.p.words); words != nil {
			err = &usage.Error{Err: err, Advice: in.p.didYouMean(in.command, words...)}
		}
	}
	if err != nil || arg == "" || in.given["accept"] {
		return arg, err
	}
	words := meantURL(in.cmd, arg)
	if in.p.isTargetName(arg) {
		words = []string{"@" + arg}
	}
	if words != nil {
		if _, err = outbound.ParseURL(arg); err != nil {
			err = &usage.Error{Err: err, Advice: in.didYouMean(words...)}
		}
	}
	return arg, err
}

// didYouMean returns advice to give the same flags, and words in place of the arguments.
func (in *invocation) didYouMean(words ...string) string {
	return in.p.didYouMean(in.command, slices.Concat(in.p.line.flagWords(), in.before, words)...)
}

// takeTarget sets the address of o if the first argument is a TARGET, and returns the
// other arguments.
func (in *invocation) takeTarget(o *target.Options) (rest []string) {
	switch {
	case len(in.args) > 0 && o.Unix && !target.IsURL(in.args[0]):
		o.Addr = "unix:" + strings.TrimPrefix(in.args[0], "unix:")
	case len(in.args) > 0 && target.IsTarget(in.args[0]):
		o.Addr = in.args[0]
	default:
		return in.args
	}
	return in.args[1:]
}

// targetArguments returns the TARGET, if there is one, and the other arguments, of which
// a negative most allows any number. With --accept there is no TARGET.
func (in *invocation) targetArguments(o *target.Options, most int) (rest []string, err error) {
	o.Given, o.Endpoint.Secrets = in.given, in.secrets
	rest = in.takeTarget(o)
	notTarget := func(advice string) error {
		return &usage.Error{Err: fmt.Errorf("%q is not a TARGET", endpoint.Redact(in.args[0])), Advice: advice}
	}
	optional := !o.Calls && len(o.Descriptors.Protos)+len(o.Descriptors.Protosets) > 0
	if len(in.args) > 0 && !o.Unix && !optional && o.Addr == "" && o.Endpoint.Accept == "" && in.p.isTargetName(in.args[0]) {
		return nil, notTarget(in.didYouMean(slices.Concat([]string{"@" + in.args[0]}, in.args[1:])...))
	}
	if len(in.args) > 0 && !o.Unix && (o.Addr == "" && o.Endpoint.Accept == "" || target.IsTarget(in.args[0])) {
		if words := meantTarget(in.args, optional); words != nil {
			return nil, notTarget(in.didYouMean(words...))
		}
	}
	const want = "want the URL of a WebSocket, or host:port or unix:PATH of a gRPC server"
	if len(in.args) > 0 && o.Addr == "" && in.args[0] == in.p.named.addr {
		return nil, notTarget(want)
	}
	if o.Addr != "" && in.given["accept"] {
		return nil, usage.Errorf("both --accept %s and the TARGET %s: a session is either accepted or dialed", o.Endpoint.Accept, endpoint.Redact(o.Addr))
	}
	if most >= 0 && len(rest) > most {
		if o.Addr == "" && len(rest) == most+1 {
			return nil, notTarget(want)
		}
		return nil, usage.Errorf("unexpected argument %q", endpoint.Redact(rest[most]))
	}
	return rest, nil
}

// onUsageError turns err, an error of package flag or cli's about an environment
// variable, into a usage.Error with a hint.
func (p *program) onUsageError(c *cli.Context, err error, _ bool) error {
	return p.flagError(c.App, c.Command, err)
}
