package commands

import (
	"context"
	"os"

	"golang.org/x/term"

	"github.com/wstun/wstun/commands/shell"
)

// console is the terminal of an interactive shell.
type console struct {
	*shell.Terminal
	in, out *os.File
}

// newConsole returns the console, nil unless stdin and stdout or stderr are terminals. It
// redirects the output of p to a terminal through the console.
func (p *program) newConsole() *console {
	in, ok := p.stdin.(*os.File)
	if !ok || !isTerminal(in) {
		return nil
	}
	results, rest := isTerminal(p.stdout), isTerminal(p.stderr)
	screen := p.stdout
	switch {
	case !results && !rest:
		return nil
	case !results:
		screen = p.stderr
	}
	c := &console{shell.NewTerminal(in, screen), in, fileOf(screen)}
	c.Size = c.size
	if results {
		p.stdout = c
	}
	if rest {
		p.stderr = c
	}
	return c
}

// run runs a shell at the console, and restores the terminal.
func (c *console) run(ctx context.Context, s *shell.Shell) error {
	c.Complete, c.Interrupt = s.Complete, s.Interrupt
	s.Interactive, s.Input = true, c
	state, err := term.MakeRaw(int(c.in.Fd()))
	if err != nil {
		return err
	}
	defer term.Restore(int(c.in.Fd()), state) //nolint:errcheck // the shell ends anyway
	defer enableEscapeSequences(c.out)()
	defer c.Close()
	return s.Run(ctx)
}

func (c *console) size() (width, height int) {
	width, height, err := term.GetSize(int(c.out.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}
