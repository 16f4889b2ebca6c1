package commands

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/reflection/suggest"
)

// onUsageError turns err, an error of package flag or cli's about an environment
// variable, into a usageError with a hint.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return &usageError{err: err, hint: unknownFlagHint(c, name)}
	}
	if m := badFlag.FindStringSubmatch(text); m != nil {
		err = badValue(c, dashes(m[2])+m[2], m[1], m[2], err)
	} else if m := badVariable.FindStringSubmatch(text); m != nil {
		err = badValue(c, m[2], m[1], m[3], err)
	}
	return &usageError{err: err, hint: helpHint(c)}
}

var (
	badFlag     = regexp.MustCompile(`value ("[^"]*") for (?:flag )?-(\S+): (?:parse error|value out of range)$`)
	badVariable = regexp.MustCompile(`^could not parse ("[^"]*") as \S+ value from environment variable "(\S+)" for flag (\S+): `)
)

// badValue returns the error that value, given in where, doesn't fit the type of a flag.
// For a flag that takes any text it returns err.
func badValue(c *cli.Context, where, value, flag string, err error) error {
	for _, f := range c.Command.Flags {
		if !slices.Contains(f.Names(), flag) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return fmt.Errorf("%s %s: want a duration with its unit, such as 30s or 5m", where, value)
		case *cli.IntFlag:
			return fmt.Errorf("%s %s: want a whole number", where, value)
		case *cli.BoolFlag:
			return fmt.Errorf("%s %s: want true or false", where, value)
		}
	}
	return err
}

// unknownFlagHint returns the hint for a flag that c's command doesn't have.
func unknownFlagHint(c *cli.Context, name string) string {
	own := flagNames(c.Command)
	if similar := suggest.Near(name, own); len(similar) > 0 {
		for i, s := range similar {
			similar[i] = dashes(s) + s
		}
		return "did you mean " + orList(similar) + "?"
	}
	if name == "plaintext" && slices.Contains(own, "tls") { // grpcurl's
		return "leave it out: wstun speaks to a plain server without TLS, unless --tls is given"
	}
	if c.App.Command(c.Command.Name) == nil { // it's wstun itself
		if c.App.Command(name) != nil {
			return "did you mean wstun " + name + "?"
		}
		if slices.ContainsFunc(c.App.Commands, func(cmd *cli.Command) bool { return len(name) > 1 && slices.Contains(flagNames(cmd), name) }) {
			return "put it after the command: wstun COMMAND --" + name
		}
	}
	return helpHint(c)
}

// unknownCommand returns the error that there is no command of that name.
func unknownCommand(c *cli.Context, name string) error {
	var names []string
	for _, cmd := range c.App.VisibleCommands() {
		names = append(names, cmd.Name)
	}
	err := &usageError{err: fmt.Errorf("unknown command %q", redact(name)), hint: "see wstun --help"}
	if similar := suggest.Near(name, names); len(similar) > 0 {
		err.hint = "did you mean wstun " + orList(similar) + "?"
	}
	return err
}

// hintAtHelp adds a hint to the usage errors of cmd's action that have none.
func hintAtHelp(cmd *cli.Command) {
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		err := action(c)
		if ue, ok := errors.AsType[*usageError](err); ok && ue.hint == "" {
			ue.hint = helpHint(c)
		}
		return err
	}
}

func helpHint(c *cli.Context) string {
	if c.App.Command(c.Command.Name) == nil {
		return "see wstun --help"
	}
	return "see wstun " + c.Command.Name + " --help"
}

func flagNames(cmd *cli.Command) []string {
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	return names
}

// dashes returns "-" for a flag's short name, "--" for a long one.
func dashes(name string) string {
	if len(name) == 1 {
		return "-"
	}
	return "--"
}
