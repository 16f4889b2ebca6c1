package commands

import (
	"context"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/wstun/wstun/commands/shell"
	"github.com/wstun/wstun/commands/terminal"
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
	screen := unmasked(p.stdout)
	switch {
	case !results && !rest:
		return nil
	case !results:
		screen = unmasked(p.stderr)
	}
	c := &console{shell.NewTerminal(in, screen), in, fileOf(screen)}
	c.Size = c.size
	if results {
		p.stdout = cleaned{c, &p.secrets}
	}
	if rest {
		p.stderr = cleaned{c, &p.secrets}
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
	undo, _ := enableEscapeSequences(c.out)
	defer undo()
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

// colors returns the colors of w, which is stdout or stderr. A terminal interprets them
// until Main returns.
func (p *program) colors(w io.Writer) terminal.Colors {
	colors := terminal.NewColors(p.color, isTerminal(w))
	if colors.On() && isTerminal(w) {
		undo, ok := enableEscapeSequences(fileOf(w))
		p.restore = append(p.restore, undo)
		if !ok {
			return terminal.Colors{}
		}
	}
	return colors
}

// isTerminal reports whether f is a terminal.
func isTerminal(f any) bool {
	file := fileOf(f)
	return file != nil && term.IsTerminal(int(file.Fd()))
}

// fileOf returns the file that f reads or writes; nil if it is none.
func fileOf(f any) *os.File {
	if c, ok := f.(cleaned); ok {
		f = c.Writer
	}
	if r, ok := f.(results); ok {
		f = r.Writer
	}
	if c, ok := f.(*console); ok {
		return c.out
	}
	file, _ := f.(*os.File)
	return file
}

// isFile reports whether r is a regular file, which never blocks.
func isFile(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}
