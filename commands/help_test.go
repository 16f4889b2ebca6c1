package commands

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// renderHelp returns the help of a command, or of wstun itself for "wstun".
func renderHelp(app *cli.App, name string, width int, all bool) string {
	h := &helpText{width: width}
	if name == app.Name {
		h.app(app)
	} else {
		h.command(app.Command(name), all)
	}
	return h.String()
}

func helpTopics(app *cli.App) []string {
	topics := []string{app.Name}
	for _, cmd := range app.VisibleCommands() {
		topics = append(topics, cmd.Name)
	}
	return topics
}

// The help of each command is as in testdata/help, and fits into its width.
func TestHelp(t *testing.T) {
	app := quietProgram().app()
	for _, topic := range helpTopics(app) {
		for _, width := range []int{80, 120} {
			text := renderHelp(app, topic, width, false)
			compareFile(t, filepath.Join("testdata", "help", fmt.Sprintf("%s.%d.txt", topic, width)), text)
			for line := range strings.Lines(text + renderHelp(app, topic, width, true)) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%s: %d columns, want at most %d: %s", topic, n, width, line)
				}
			}
		}
	}
}

// Help doesn't depend on the environment, whose values may be secret.
func TestHelpWithVariables(t *testing.T) {
	for _, kv := range []string{"HEADER=X-Token: secret", "PROXY=http://secret", "PROTO=secret", "OUTPUT=json", "WAIT=7s", "MAX_RETRIES=7", "MAX_MEMORY=7MiB", "TRACE=1"} {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv("WSTUN_"+name, value)
	}
	for _, name := range []string{"serve", "dial", "call"} {
		for _, args := range [][]string{{name, "--help", "--all"}, {name, "--all", "-h", "argument"}, {"--help", "--all", name}, {"help", "--all", name}} {
			var stdout strings.Builder
			p := &program{stdout: &stdout, stderr: &strings.Builder{}}
			if err := p.run(t.Context(), p.app(), append([]string{"wstun"}, args...)); err != nil {
				t.Fatal(err)
			}
			if want := renderHelp(quietProgram().app(), name, pipeHelpWidth, true); stdout.String() != want {
				t.Errorf("wstun %s:\n%s\nwant\n%s", strings.Join(args, " "), &stdout, want)
			}
		}
	}
}

// Each flag has a group, and is printed with --all. Without it, the last line counts the
// flags that aren't.
func TestGroups(t *testing.T) {
	app := quietProgram().app()
	unused := map[string]bool{}
	for _, g := range groups {
		for entry := range strings.FieldsSeq(g.flags + " " + g.rare) {
			if unused[entry] {
				t.Errorf("commands/groups.go has %s twice", entry)
			}
			unused[entry] = true
		}
	}
	for _, cmd := range app.VisibleCommands() {
		short, all := renderHelp(app, cmd.Name, 80, false), renderHelp(app, cmd.Name, 80, true)
		rare := 0
		for _, g := range groupFlags(cmd) {
			rare += len(g.rare)
			for _, f := range slices.Concat(g.flags, g.rare) {
				name := f.Names()[0]
				delete(unused, name)
				delete(unused, cmd.Name+"/"+name)
				if g.name == "Other" {
					t.Errorf("--%s of wstun %s is in no group: add it to one in commands/groups.go", name, cmd.Name)
				}
				isRare := slices.Contains(g.rare, f)
				if hasFlag(short, name) == isRare || !hasFlag(all, name) {
					t.Errorf("--%s in the help of %s: %v, with --all: %v", name, cmd.Name, hasFlag(short, name), hasFlag(all, name))
				}
			}
		}
		last := fmt.Sprintf("  wstun %s --help --all prints %d more flags.\n", cmd.Name, rare)
		if strings.HasSuffix(short, last) != (rare > 0) {
			t.Errorf("the help of %s with %d rarely used flags ends with\n%s", cmd.Name, rare, short[strings.LastIndex(short, "\n\n"):])
		}
	}
	for _, entry := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("commands/groups.go has %s, but no command does", entry)
	}
}

// hasFlag reports whether help has the row of a flag.
func hasFlag(help, name string) bool {
	for line := range strings.Lines(help) {
		for word := range strings.FieldsSeq(line) {
			if !strings.HasPrefix(word, "-") {
				break
			}
			if strings.TrimSuffix(word, ",") == "--"+name {
				return true
			}
		}
	}
	return false
}

// Each command has examples. Package e2e runs them.
func TestExamples(t *testing.T) {
	app := quietProgram().app()
	topics := helpTopics(app)
	for _, topic := range topics {
		least := 2
		if cmd := app.Command(topic); cmd != nil && len(groupFlags(cmd)) == 0 {
			least = 1
		}
		if n := len(examples[topic]); n < least || n > 5 {
			t.Errorf("%s: %d examples in commands/examples.go, want %d to 5", topic, n, least)
		}
	}
	for topic := range examples {
		if !slices.Contains(topics, topic) {
			t.Errorf("commands/examples.go has %s, which isn't a command", topic)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"a b\nc", 10, []string{"a b c"}},
		{"aaa bbb ccc", 7, []string{"aaa bbb", "ccc"}},
		{"aaa bbb ccc", 6, []string{"aaa", "bbb", "ccc"}},
		{"ä… ö… ü…", 5, []string{"ä… ö…", "ü…"}},
		{"longer than that", 5, []string{"longer", "than", "that"}},
	} {
		if got := wrap(test.text, test.width); !slices.Equal(got, test.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}

// The man page has all sections and flags, and no markup of the reference.
func TestManPage(t *testing.T) {
	t.Parallel()
	page := manPage()
	for _, want := range []string{
		".TH wstun 1", "\n.SH NAME\nwstun \\- gRPC ", "\n.SH EXIT STATUSES\n", "\n.SS wstun call\n", "\n.SH FILES\n",
		"\n.TP\n\\fB\\-\\-max\\-retries N\\fR\n", "\n.TP\n\\fBready\\fR\n", "\\fBWSTUN_MAX_RETRIES\\fR", "\n.TP\n64 + n\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the man page doesn't have %q", want)
		}
	}
	for _, markup := range []string{"<!--", "|---|", ".TS", "\n|", "`", "](", "\\[la]#", "\\[la].."} {
		if strings.Contains(page, markup) {
			t.Errorf("the man page has %q", markup)
		}
	}
}
