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

// source has the files that the manual links to.
const source = "https://github.com/wstun/wstun/blob/main"

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

// manPage returns the reference as a man page. Its tables become lists of terms, because
// md2man doesn't break lines in tables.
func manPage() string {
	_, text, _ := strings.Cut(reference, "\n") // without the title
	replace := func(pattern, with string) { text = regexp.MustCompile("(?m)"+pattern).ReplaceAllString(text, with) }
	replace(`^<!--.*-->\n+`, "")
	replace(`\[([^]]*)\]\(#[^)]*\)`, "$1")
	replace(`\]\(\.\./`, "]("+source+"/")
	replace(`\]\(RECIPES`, "]("+source+"/commands/RECIPES")
	replace(`^\|.*\n\|[-|]+\|\n`, "") // the heads of tables
	replace(`^\| (.*?) \| (.*) \|$`, "$1\n: $2\n")
	text = regexp.MustCompile("(?m)^## .*$").ReplaceAllStringFunc(text, strings.ToUpper)
	text = string(md2man.Render([]byte("wstun 1 \"\" \"wstun\" \"wstun's manual\"\n===\n\n" + text)))
	replace(`^\.TH .*$`, "$0\n.nr HY 0\n.ad l") // neither hyphenate nor justify
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "'") {
			lines[i] = strings.ReplaceAll(strings.ReplaceAll(line, `\-`, "-"), "-", `\-`) // flags have a minus, not a hyphen
		}
	}
	return strings.Join(lines, "\n")
}
