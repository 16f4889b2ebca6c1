package commands

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection/suggest"
)

// flagError turns err, an error of package flag or cli's about an environment variable,
// into a usage.Error with a hint.
func (p *program) flagError(app *cli.App, cmd *cli.Command, err error) error {
	text := err.Error()
	const unknown = "flag provided but not defined: -"
	if name, ok := strings.CutPrefix(text, unknown); ok {
		if i := strings.IndexAny(name, "=: "); i > 0 { // the rest may be a secret, as in '-HName: value'
			name = name[:i]
		}
		return &usage.Error{Err: errors.New(unknown + name), Advice: p.unknownFlagHint(app, cmd, name)}
	}
	if m := badFlag.FindStringSubmatch(text); m != nil {
		err = badValue(cmd, dashes(m[2])+m[2], m[1], m[2], m[3], err)
	} else if m := badVariable.FindStringSubmatch(text); m != nil {
		err = badValue(cmd, m[2], m[1], m[3], m[4], err)
	}
	return &usage.Error{Err: err, Advice: helpHint(app, cmd)}
}

var (
	badFlag     = regexp.MustCompile(`value ("[^"]*") for (?:flag )?-(\S+): (.*)$`)
	badVariable = regexp.MustCompile(`^could not parse ("[^"]*") (?:as (?:\S+ )?value )?from environment variable "(\S+)" (?:as value )?for flag (\S+): (.*)$`)
)

// badValue returns the error that value, given in where, doesn't fit the type of a flag, for
// a reason that only a GenericFlag knows. For a flag that takes any text it returns err.
func badValue(cmd *cli.Command, where, value, flag, reason string, err error) error {
	for _, f := range cmd.Flags {
		if !slices.Contains(f.Names(), flag) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return fmt.Errorf("%s %s: %s", where, value, usage.WantDuration)
		case *cli.IntFlag:
			return fmt.Errorf("%s %s: %s", where, value, usage.WantInt)
		case *cli.BoolFlag:
			return fmt.Errorf("%s %s: %s", where, value, usage.WantBool)
		case *cli.GenericFlag, usage.OptionalFlag:
			return fmt.Errorf("%s %s: %s", where, value, reason)
		}
	}
	return err
}

// unknownFlagHint returns the hint for a flag that cmd doesn't have.
func (p *program) unknownFlagHint(app *cli.App, cmd *cli.Command, name string) string {
	own := flagNames(cmd)
	if cmd.Name == "dial" && !p.hasCommand {
		if words := meantDial(cmd.Flags, p.words); words != nil {
			return p.didYouMean(cmd, words...)
		}
	}
	if words := meantPort(cmd, p.words); words != nil {
		return p.didYouMean(cmd, words...)
	}
	if long := otherTools[name]; findFlag(cmd.Flags, long) != nil {
		return "did you mean --" + long + "?"
	}
	if advice := grpcurlAdvice[name]; advice != "" {
		return advice
	}
	if similar := suggest.Near(name, own); len(similar) > 0 {
		for i, s := range similar {
			similar[i] = dashes(s) + s
		}
		return "did you mean " + orList(similar) + "?"
	}
	var others []string // commands with such a flag
	for _, other := range app.Commands {
		if findFlag(other.Flags, name) != nil {
			others = append(others, "wstun "+other.Name)
		}
	}
	switch {
	case app.Command(cmd.Name) != nil && len(others) > 0:
		return "leave it out: " + dashes(name) + name + " is a flag of " + orList(others)
	case app.Command(name) != nil:
		return "did you mean wstun " + name + "?"
	case len(others) > 0:
		return "give a command, too: wstun COMMAND " + dashes(name) + name
	}
	return helpHint(app, cmd)
}

// unknownCommand returns the error that there is no command of that name.
func unknownCommand(app *cli.App, name string) *usage.Error {
	var names []string
	for _, cmd := range app.VisibleCommands() {
		names = append(names, cmd.Name)
	}
	err := &usage.Error{Err: fmt.Errorf("unknown command %q", endpoint.Redact(name)), Advice: "see wstun --help"}
	if similar := suggest.Near(name, names); len(similar) > 0 {
		err.Advice = "did you mean wstun " + orList(similar) + "?"
	}
	return err
}

func helpHint(app *cli.App, cmd *cli.Command) string {
	if app.Command(cmd.Name) == nil {
		return "see wstun --help"
	}
	return "see wstun " + cmd.Name + " --help"
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
