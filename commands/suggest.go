package commands

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// onUsageError says what is wrong with c's flags, and what to do about it. err is
// that of package flag, or cli's about a variable.
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

// badValue is that value, given as where says, is none for a flag, or err where
// any would be.
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

// unknownFlagHint is what may have been meant by a flag that c's command doesn't have.
func unknownFlagHint(c *cli.Context, name string) string {
	own := flagNames(c.Command)
	if similar := near(name, own); len(similar) > 0 {
		for i, s := range similar {
			similar[i] = dashes(s) + s
		}
		return "did you mean " + orList(similar) + "?"
	}
	if name == "plaintext" && slices.Contains(own, "tls") { // grpcurl's
		return "leave it out: a plain server is spoken to without TLS, unless --tls is given"
	}
	if c.App.Command(c.Command.Name) == nil { // it's wstun itself
		if c.App.Command(name) != nil {
			return "did you mean wstun " + name + "?"
		}
		if slices.ContainsFunc(c.App.Commands, func(cmd *cli.Command) bool { return len(name) > 1 && slices.Contains(flagNames(cmd), name) }) {
			return "put it behind the command: wstun COMMAND --" + name
		}
	}
	return helpHint(c)
}

// unknownCommand is that there is no command name.
func unknownCommand(c *cli.Context, name string) error {
	var names []string
	for _, cmd := range c.App.VisibleCommands() {
		names = append(names, cmd.Name)
	}
	err := &usageError{err: fmt.Errorf("unknown command %q", redact(name)), hint: "see wstun --help"}
	if similar := near(name, names); len(similar) > 0 {
		err.hint = "did you mean wstun " + orList(similar) + "?"
	}
	return err
}

// hintAtHelp has what cmd's action says about a mistake end with a hint, where
// there is no better one.
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

// dashes are those before a flag's name.
func dashes(name string) string {
	if len(name) == 1 {
		return "-"
	}
	return "--"
}

// near returns those of names that are spelt most like name, or of which it is the
// beginning or the end: few of them.
func near(name string, names []string) []string {
	const (
		alike  = 0.85 // of 1
		part   = 0.95
		margin = 0.02
		few    = 3
	)
	if len(name) < 3 {
		return nil // what is that short is like many
	}
	likeness := func(other string) float64 {
		if strings.HasPrefix(other, name) || strings.HasSuffix(other, "-"+name) {
			return part
		}
		return smetrics.JaroWinkler(name, other, 0.7, 4) // as cli
	}
	found := slices.DeleteFunc(slices.Clone(names), func(other string) bool { return len(other) < 3 || likeness(other) < alike })
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(cmp.Compare(likeness(b), likeness(a)), strings.Compare(a, b)) })
	n := 0
	for n < min(few, len(found)) && likeness(found[n]) >= likeness(found[0])-margin {
		n++
	}
	return found[:n]
}
