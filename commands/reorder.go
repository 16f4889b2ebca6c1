package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
)

// line is a command line, without the name of the command.
type line struct {
	flags    []flagWords
	operands []string
	at       []int    // the indexes of the operands among all words
	rest     []string // "--" and the words after it
	pending  cli.Flag // the last flag, if its value is missing; otherwise nil
}

// flagWords are the words of one flag: its name, and its value if that is a word of its own.
type flagWords struct {
	flag  cli.Flag // nil: unknown
	words []string
}

// parseLine sorts words into flags and operands, in whichever order they are. Only a known
// flag takes the next word as its value.
func parseLine(flags []cli.Flag, words []string) (l line) {
	for i := 0; i < len(words); i++ {
		switch word := words[i]; {
		case word == "--":
			l.rest = words[i:]
			return l
		case isOperand(word):
			l.operands, l.at = append(l.operands, word), append(l.at, i)
		default:
			name, _, hasValue := strings.Cut(flagName(word), "=")
			f := flagWords{findFlag(flags, name), []string{word}}
			switch next := words[i+1:]; {
			case f.flag == nil || hasValue || !takesValue(f.flag):
			case len(next) == 0 || next[0] == "--":
				l.pending = f.flag
			default:
				f.words = append(f.words, next[0])
				i++
			}
			l.flags = append(l.flags, f)
		}
	}
	return l
}

// isOperand reports whether word isn't a flag: "-" and negative numbers aren't.
func isOperand(word string) bool {
	return len(word) < 2 || word[0] != '-' || strings.IndexByte(".0123456789", word[1]) >= 0
}

// flagWords returns the words of all flags.
func (l *line) flagWords() (words []string) {
	for _, f := range l.flags {
		words = append(words, f.words...)
	}
	return words
}

// byName returns the words of f with the flag's name in place of an alias, which package cli
// refuses besides the name.
func (f flagWords) byName() []string {
	if f.flag == nil {
		return f.words
	}
	words := slices.Clone(f.words)
	_, value, ok := strings.Cut(words[0], "=")
	if words[0] = "--" + f.flag.Names()[0]; ok {
		words[0] += "=" + value
	}
	return words
}

// knows reports whether all flags are known.
func (l *line) knows() bool {
	return !slices.ContainsFunc(l.flags, func(f flagWords) bool { return f.flag == nil })
}

// uses reports whether the flag with a name is among the flags.
func (l *line) uses(name string) bool {
	return slices.ContainsFunc(l.flags, func(f flagWords) bool { return f.flag != nil && f.flag.Names()[0] == name })
}

// findCommand returns the command in words, which follow wstun, and the other words. Flags
// may stand before the command. It returns nil without a command.
func findCommand(app *cli.App, words []string) (*cli.Command, []string) {
	l := parseLine(allFlags(app), words)
	if len(l.operands) == 0 {
		return nil, words
	}
	i := l.at[0]
	return app.Command(words[i]), slices.Concat(words[:i], words[i+1:])
}

// allFlags returns the flags of all commands. Flags with the same name agree on whether
// they take a value.
func allFlags(app *cli.App) []cli.Flag {
	flags := slices.Clone(app.Flags)
	for _, cmd := range app.Commands {
		flags = append(flags, cmd.Flags...)
	}
	return flags
}

// run runs app with args, of which the first is the program's name. Package flag, on which
// cli is built, ends the flags at the first operand, so they are moved before it.
func (p *program) run(ctx context.Context, app *cli.App, args []string) error {
	cmd, words := findCommand(app, args[1:])
	if cmd == nil {
		if l := parseLine(allFlags(app), args[1:]); len(l.operands) > 0 {
			err := unknownCommand(app, l.operands[0])
			if cmd, words := meantVerb(app, &l); cmd != nil {
				err.Advice = p.didYouMean(cmd, words...)
			}
			return err
		}
	}
	if cmd == nil || cmd.SkipFlagParsing {
		return app.RunContext(ctx, args)
	}
	p.words, p.line = words, parseLine(cmd.Flags, words)
	if f := p.line.pending; f != nil {
		text, value := describeFlag(f)
		name := dashes(f.Names()[0]) + f.Names()[0]
		return &usage.Error{Err: fmt.Errorf("%s without a value", name), Advice: fmt.Sprintf("%s %s: %s", name, value, text)}
	}
	args = []string{args[0], cmd.Name}
	for _, f := range p.line.flags {
		args = append(args, f.byName()...)
	}
	return app.RunContext(ctx, slices.Concat(args, []string{"--"}, p.line.operands))
}
