package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// The width of help: that of the terminal, but not more than maxHelpWidth, or
// pipeHelpWidth without a terminal.
const (
	pipeHelpWidth = 80
	maxHelpWidth  = 120
)

// helpFlags returns the flags that wstun and each of its commands have.
func helpFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print help"},
		&cli.BoolFlag{Name: "all", Usage: "with --help: print the rarely used flags, too"},
	}
}

// isHelpFlag reports whether f is one of helpFlags.
func isHelpFlag(f cli.Flag) bool {
	return f.Names()[0] == "help" || f.Names()[0] == "all"
}

func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "print the commands, or the flags of one",
		ArgsUsage: "[COMMAND]",
		UsageText: "wstun help [COMMAND]",
		Action: func(c *cli.Context) error {
			return p.action(func(_ context.Context, in *invocation) error {
				name, err := in.argument()
				switch {
				case err != nil:
					return err
				case name == "":
					return p.printHelp(c.App, nil, false)
				case c.App.Command(name) == nil:
					return unknownCommand(c.App, name)
				}
				return p.printHelp(c.App, c.App.Command(name), c.Bool("all"))
			})(c)
		},
	}
}

// printHelp prints the help of a command, or of wstun itself if cmd is nil. all includes
// the rarely used flags.
func (p *program) printHelp(app *cli.App, cmd *cli.Command, all bool) error {
	h := &helpText{width: pipeHelpWidth}
	if isTerminal(p.stdout) {
		if width, _ := (&console{out: fileOf(p.stdout)}).size(); width > 0 {
			h.width = min(width, maxHelpWidth)
		}
	}
	if cmd == nil {
		h.app(app)
	} else {
		h.command(cmd, all)
	}
	_, err := io.WriteString(p.stdout, h.String())
	return err
}

// helpText is help in the making.
type helpText struct {
	strings.Builder
	width int // of a line
}

// app writes the help of wstun itself.
func (h *helpText) app(app *cli.App) {
	h.head(app.Usage, app.UsageText, app.Description)
	var rows []row
	for _, cmd := range app.Commands {
		rows = append(rows, row{cmd.Name, cmd.Usage})
	}
	column := column(rows)
	for i, cmd := range app.Commands {
		if cmd.Hidden {
			continue
		}
		if i == 0 || cmd.Category != app.Commands[i-1].Category {
			h.heading(cmd.Category)
		}
		h.rows(rows[i:i+1], column)
	}
	h.examples(examples[app.Name])
	h.heading("Learn more")
	h.paragraphs("wstun COMMAND --help prints examples and the flags of a command, and with --all also its rarely used flags.\n\n" +
		variablesText + "\n\nwstun man prints the manual: all flags, variables, events, files and exit statuses.")
}

const variablesText = "Flags can also be set by variables, such as --log-level by WSTUN_LOG_LEVEL."

// command writes the help of a command.
func (h *helpText) command(cmd *cli.Command, all bool) {
	h.head(cmd.Usage, cmd.UsageText, cmd.Description)
	list := groupFlags(cmd)
	var rows []row
	rare := 0
	for i, g := range list {
		if all {
			g.flags, g.rare = append(g.flags, g.rare...), nil
			list[i] = g
		}
		rows = append(rows, flagRows(g.flags)...)
		rare += len(g.rare)
	}
	column := column(rows)
	for _, g := range list {
		if len(g.flags) > 0 {
			h.heading(g.name)
			h.rows(flagRows(g.flags), column)
		}
	}
	h.examples(examples[cmd.Name])
	if len(list) > 0 {
		h.heading("Learn more")
		h.paragraphs(variablesText)
	}
	if rare > 0 {
		h.paragraphs(fmt.Sprintf("wstun %s --help --all prints %d more flags.", cmd.Name, rare))
	}
}

// head writes the beginning of help.
func (h *helpText) head(summary, usage, description string) {
	fmt.Fprintf(h, "%s.\n", capitalized(summary))
	h.heading("Usage")
	h.paragraphs(usage)
	if description != "" {
		fmt.Fprintln(h)
		h.paragraphs(description)
	}
}

// capitalized returns text as the beginning of a sentence.
func capitalized(text string) string {
	if strings.HasPrefix(text, "gRPC") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (h *helpText) heading(text string) { fmt.Fprintf(h, "\n%s\n", strings.ToUpper(text)) }

// paragraphs writes text, whose paragraphs are separated by empty lines. Lines that are
// indented are left as they are.
func (h *helpText) paragraphs(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(h)
		}
		lines := strings.Split(paragraph, "\n")
		if !strings.HasPrefix(paragraph, " ") {
			lines = wrap(paragraph, h.width-2)
		}
		for _, line := range lines {
			fmt.Fprintf(h, "  %s\n", line)
		}
	}
}

func (h *helpText) examples(list []example) {
	h.heading("Examples")
	for i, e := range list {
		if i > 0 {
			fmt.Fprintln(h)
		}
		fmt.Fprintf(h, "  # %s\n  $ %s\n", e.purpose, strings.ReplaceAll(e.line, "\n", "\n  "))
	}
}

// row is a row of two columns.
type row struct{ term, text string }

// maxColumn limits the width of the first column. Longer terms have a line of their own.
const maxColumn = 34

// column returns the column in which the texts of rows begin.
func column(rows []row) int {
	column := 0
	for _, r := range rows {
		if n := 2 + utf8.RuneCountInString(r.term) + 2; n <= maxColumn {
			column = max(column, n)
		}
	}
	return column
}

// rows writes rows whose texts begin in the given column.
func (h *helpText) rows(rows []row, column int) {
	for _, r := range rows {
		term := "  " + r.term
		if utf8.RuneCountInString(term)+2 > column {
			fmt.Fprintln(h, term)
			term = ""
		}
		for _, line := range wrap(r.text, h.width-column) {
			fmt.Fprintf(h, "%-*s%s\n", column, term, line)
			term = ""
		}
	}
}

// wrap breaks text into lines of at most width, unless a word is longer.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// flagRows returns the names and descriptions of flags.
func flagRows(flags []cli.Flag) []row {
	var rows []row
	for _, f := range flags {
		names := slices.Clone(f.Names())
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
		for i, name := range names {
			names[i] = dashes(name) + name
			if name == "vv" {
				names[i] = "-vv" // as grpcurl's
			}
		}
		text, value := describeFlag(f)
		term := strings.TrimSpace(strings.Join(names, ", ") + " " + value)
		if len(names) == 1 {
			term = "    " + term
		}
		if d := defaultText(f); d != "" {
			text += " (default: " + d + ")"
		}
		rows = append(rows, row{term, text})
	}
	return rows
}

// defaultText returns the default of a flag; empty if it has none, or if its description
// has it.
func defaultText(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok || !d.TakesValue() || strings.Contains(d.GetUsage(), "(default: ") {
		return ""
	}
	return strings.Trim(d.GetDefaultText(), `"`)
}
