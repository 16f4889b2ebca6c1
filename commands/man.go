package commands

import (
	"context"
	_ "embed"
	"io"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"
)

// reference is the manual, which a test compares with the code.
//
//go:embed REFERENCE.md
var reference string

func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual as a man page",
		UsageText:   "wstun man",
		Description: "The manual has all flags, variables, events, files and exit statuses.",
		Action: p.action(func(_ context.Context, in *invocation) error {
			if _, err := in.arguments(0); err != nil {
				return err
			}
			_, err := io.WriteString(p.stdout, manPage())
			return err
		}),
	}
}

var (
	section   = regexp.MustCompile(`(?m)^## .*$`)
	comments  = regexp.MustCompile(`(?m)^<!--.*-->\n+`)
	tableHead = regexp.MustCompile(`(?m)^\|.*\n\|[-|]+\|\n`)
	tableRow  = regexp.MustCompile(`(?m)^\| (.*?) \| (.*) \|$`)
	title     = regexp.MustCompile(`(?m)^\.TH .*$`)
)

// manPage returns the reference as a man page. Its tables become lists of terms, because
// md2man doesn't break lines in tables.
func manPage() string {
	_, text, _ := strings.Cut(reference, "\n") // without the title
	text = section.ReplaceAllStringFunc(text, strings.ToUpper)
	text = comments.ReplaceAllString(text, "")
	text = tableHead.ReplaceAllString(text, "")
	text = tableRow.ReplaceAllString(text, "$1\n: $2\n")
	page := string(md2man.Render([]byte("wstun 1 \"\" \"wstun\" \"wstun's manual\"\n===\n\n" + text)))
	page = title.ReplaceAllString(page, "$0\n.nr HY 0\n.ad l") // neither hyphenate nor justify
	lines := strings.Split(page, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "'") {
			lines[i] = strings.ReplaceAll(strings.ReplaceAll(line, `\-`, "-"), "-", `\-`) // flags have a minus, not a hyphen
		}
	}
	return strings.Join(lines, "\n")
}
