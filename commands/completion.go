package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/commands/usage"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes wstun's command lines",
		ArgsUsage: "SHELL",
		UsageText: "wstun completion SHELL",
		Description: "SHELL is bash, zsh, fish or powershell. To switch completion on:\n\n" +
			"  bash, in ~/.bashrc:                  source <(wstun completion bash)\n" +
			"  zsh, in ~/.zshrc, after compinit:    source <(wstun completion zsh)\n" +
			"  fish, in ~/.config/fish/config.fish: wstun completion fish | source\n" +
			"  PowerShell, in $PROFILE:\n" +
			"      wstun completion powershell | Out-String | Invoke-Expression\n\n" +
			"Names of services, methods and other symbols are those of --proto or --protoset, or of\n" +
			"the TARGET: wstun asks it with the flags on the command line, for at most\n" +
			"WSTUN_COMPLETION_TIMEOUT (1s), and caches its answer for a minute. Likewise the names of\n" +
			"workers after --to are those at the relay whose URL is before it. In PowerShell, where\n" +
			"@NAME is a variable, name a target with --target NAME.",
		Action: p.action(func(_ context.Context, in *invocation) error {
			name, err := in.argument()
			if err != nil {
				return err
			}
			advice := "one of " + strings.Join(completion.Shells, ", ")
			if name == "" {
				return &usage.Error{Err: errors.New("no SHELL"), Advice: advice}
			}
			script, ok := completion.Script(name)
			if !ok {
				return &usage.Error{Err: fmt.Errorf("no completion for %q", name), Advice: advice}
			}
			_, err = io.WriteString(p.stdout, script)
			return err
		}),
	}
}

// completeCommand returns the hidden command that the scripts run.
func (p *program) completeCommand() *cli.Command {
	var timeout time.Duration
	return &cli.Command{
		Name:            "__complete",
		Hidden:          true,
		UsageText:       "wstun __complete SHELL WORD…",
		SkipFlagParsing: true,
		Flags:           []cli.Flag{usage.Duration(&timeout, "completion-timeout", "ask a TARGET for at most `DURATION`", time.Second)},
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if p.hasCommand {
				words = append(append(words, "--"), p.command...)
			}
			if len(words) < 2 {
				return usage.Errorf("want a SHELL and WORDs")
			}
			completer := &completer{timeout: timeout, cache: completion.Cache{MaxAge: time.Minute}}
			if dir, err := os.UserCacheDir(); err == nil {
				completer.cache.Dir = filepath.Join(dir, "wstun", "completion")
			}
			answer := completer.complete(c.Context, completion.Words(words[0], words[1:]))
			if words[0] == "powershell" { // to which @NAME is a variable
				answer.Candidates = slices.DeleteFunc(answer.Candidates, func(c completion.Candidate) bool { return strings.HasPrefix(c.Text, "@") })
			}
			_, err := answer.WriteTo(p.stdout)
			return err
		},
	}
}

// completer finds the completions of a word on wstun's command line.
type completer struct {
	timeout time.Duration // of asking a TARGET
	cache   completion.Cache
}

// complete completes the last of words, which follow wstun.
func (c *completer) complete(ctx context.Context, words []string) *completion.Answer {
	before, word := words[:len(words)-1], words[len(words)-1]
	app := quietProgram().app()
	cmd, others := findCommand(app, before)
	if cmd == nil {
		return completeCommandName(app, before, word)
	}
	l := parseLine(cmd.Flags, others)
	before = slices.Insert(others, 0, cmd.Name)
	switch {
	case cmd.Hidden, !l.knows():
		return &completion.Answer{}
	case l.rest != nil && cmd.Name == "dial":
		return &completion.Answer{Paths: completion.Files}
	case l.rest != nil:
		return &completion.Answer{}
	case l.pending != nil && l.pending.Names()[0] == "target":
		return c.completeTarget(ctx, before[:len(before)-1], "", word)
	case l.pending != nil && l.pending.Names()[0] == "to":
		return c.completeWorker(ctx, cmd, before[1:len(before)-1], "", word)
	case l.pending != nil:
		return completeValue(l.pending, "", word)
	case strings.HasPrefix(word, "-"):
		name, value, ok := strings.Cut(word, "=")
		switch {
		case ok && flagName(name) == "target":
			return c.completeTarget(ctx, before, name+"=", word)
		case ok && flagName(name) == "to" && l.knows():
			return c.completeWorker(ctx, cmd, before[1:], name+"=", value)
		}
		return completeFlag(cmd.Flags, &l, word)
	}
	return c.completeOperand(ctx, cmd, before, &l, word)
}

// completeCommandName completes a word before which there is no command.
func completeCommandName(app *cli.App, before []string, word string) *completion.Answer {
	l := parseLine(allFlags(app), before)
	switch {
	case l.pending != nil:
		return completeValue(l.pending, "", word)
	case len(l.operands) > 0, l.rest != nil, !l.knows():
		return &completion.Answer{}
	case strings.HasPrefix(word, "-"):
		return completeFlag(app.Flags, &l, word)
	}
	return answer(word, commandNames(app))
}

// quietProgram returns a program that only parses command lines.
func quietProgram() *program {
	return &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
}

func commandNames(app *cli.App) []completion.Candidate {
	var names []completion.Candidate
	for _, cmd := range app.Commands {
		if !cmd.Hidden {
			names = append(names, completion.Candidate{Text: cmd.Name, Description: cmd.Usage})
		}
	}
	return names
}

// answer returns the candidates that begin with word.
func answer(word string, candidates []completion.Candidate) *completion.Answer {
	return &completion.Answer{Candidates: slices.DeleteFunc(candidates, func(c completion.Candidate) bool {
		return !strings.HasPrefix(c.Text, word)
	})}
}
