// Package commands is wstun's command line.
//
// The rules of its output: stdout is for results, stderr for everything else.
// An error is one line, "wstun: " and what failed, followed by "wstun: hint: "
// lines where there is something to do about it. With --output json stdout has
// one JSON object a line and nothing else.
package commands

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// program is one run of wstun: what all subcommands share.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	fail           context.CancelCauseFunc // ends the run in order, with an outputError

	// pipes is set by commands that only print something: that nobody reads the rest
	// of it is nothing to talk about.
	pipes bool

	helpErr error // set by helpBefore

	// command is what stands behind "--" on the command line.
	command    []string
	hasCommand bool
}

// Main runs wstun with args, of which the first is the program's name, and
// returns its exit status. The end of ctx asks it to stop in order.
//
// Environment variables WSTUN_… that are set to nothing are unset: they count
// as not being there, for wstun and for the command that it starts.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	unsetEmptyVariables()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := &program{stdin: stdin, stdout: results{stdout, fail}, stderr: stderr, fail: fail}
	if i := slices.Index(args, "--"); i >= 0 {
		args, p.command, p.hasCommand = args[:i], args[i+1:], true
		p.stdout = stdout // the command's, as it is
	}
	err := p.app().RunContext(ctx, args)
	if err == nil {
		err = p.helpErr
	}
	if oe, ok := errors.AsType[*outputError](context.Cause(ctx)); ok {
		err = oe
		if p.pipes && errors.Is(oe, syscall.EPIPE) {
			err = &commandError{statusSignal + int(syscall.SIGPIPE)} // in order, but with no more to say than the signal
		}
	}
	return report(stderr, err)
}

func unsetEmptyVariables() {
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); value == "" && strings.HasPrefix(name, "WSTUN_") {
			_ = os.Unsetenv(name)
		}
	}
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:      "wstun",
		Usage:     "gRPC through the WebSocket session between a Hub and its Workers",
		UsageText: "wstun COMMAND [flags] [arguments]",
		Description: "wstun serve is the gRPC server end of a session, wstun dial the gRPC client end.\n" +
			"Either can dial the WebSocket or accept it. Try it: wstun demo",
		Commands: []*cli.Command{
			p.serveCommand(),
			p.dialCommand(),
			p.listCommand(),
			p.describeCommand(),
			p.callCommand(),
			p.shellCommand(),
			p.checkCommand(),
			p.demoCommand(),
			p.completionCommand(),
			p.versionCommand(),
			p.helpCommand(),
			p.completeCommand(),
		},
		Flags: []cli.Flag{cli.HelpFlag}, // which cli adds together with its own help command only
		// Without a subcommand this runs: with an unknown one, too.
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return unknownCommand(c, c.Args().First())
			}
			if p.hasCommand {
				return usagef("no command before --")
			}
			return cli.ShowAppHelp(c)
		},
		Reader:                    p.stdin,
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // -H 'Accept: a, b' is one header
		ExitErrHandler:            func(*cli.Context, error) {},
		CommandNotFound:           p.helpBefore,
		OnUsageError:              onUsageError,
		InvalidFlagAccessHandler:  func(_ *cli.Context, name string) { panic("no flag " + name) }, //nolint:forbidigo // a mistake in this package
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = onUsageError // the App's covers the root only
		cmd.HideHelpCommand = true
		if cmd.Name != "help" {
			cmd.Subcommands = []*cli.Command{} // none: without that, --help looks for what stands behind it among the App's
		}
		hintAtHelp(cmd)
	}
	return app
}

// helpCommand stands in for cli's own, which has its own way with errors.
func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "print the commands, or the flags of one",
		ArgsUsage: "[COMMAND]",
		UsageText: "wstun help [COMMAND]",
		Action: func(c *cli.Context) error {
			args, err := p.arguments(c, 1)
			switch {
			case err != nil:
				return err
			case len(args) == 0:
				return cli.ShowAppHelp(c)
			case c.App.Command(args[0]) == nil:
				return unknownCommand(c, args[0])
			}
			return cli.ShowCommandHelp(c, args[0])
		},
	}
}

// helpBefore prints the help that --help asks for, to which cli takes what stands
// behind it for the name of a command.
func (p *program) helpBefore(c *cli.Context, name string) {
	if c.App.Command(c.Command.Name) == nil { // wstun --help NAME
		p.helpErr = unknownCommand(c, name)
		return
	}
	_ = cli.ShowSubcommandHelp(c)
}

// arguments checks the number of c's positional arguments, which end at the
// first that looks like a flag: that one was meant to be a flag.
func (p *program) arguments(c *cli.Context, most int) ([]string, error) {
	args := c.Args().Slice()
	if slices.Contains(args, "") { // such as "$URL" without that variable
		return nil, usagef("an argument is empty")
	}
	if err := rejectEmptyFlags(c); err != nil {
		return nil, err
	}
	for _, arg := range args {
		if len(arg) > 1 && strings.HasPrefix(arg, "-") {
			flag := arg
			if i := strings.IndexAny(arg, "=: "); i > 0 { // what follows may be a secret
				flag = arg[:i]
			}
			return nil, &usageError{err: errors.New("flag " + flag + " after the arguments"), hint: "put the flags first: wstun " + c.Command.Name + " " + flag + " … " + redact(args[0])}
		}
	}
	if len(args) > most {
		return nil, usagef("unexpected argument %q", redact(args[most]))
	}
	if p.hasCommand && c.Command.Name != "dial" {
		return nil, usagef("wstun %s runs no command: nothing can stand behind --", c.Command.Name)
	}
	return args, nil
}
