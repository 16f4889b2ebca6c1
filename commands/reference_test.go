package commands

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/tunnel/trace"
)

// update is for go test ./commands -run 'Reference|Help' -update.
var update = flag.Bool("update", false, "write REFERENCE.md and the expected help again")

// compareFile compares a file with the text that it should have, or writes the text.
func compareFile(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	line := 0
	for line < min(len(gotLines), len(wantLines))-1 && gotLines[line] == wantLines[line] {
		line++
	}
	t.Errorf("%s is out of date: go test ./commands -run 'Reference|Help' -update writes it again; line %d is\n%s\nwant\n%s", path, line+1, gotLines[line], wantLines[line])
}

// The generated parts of REFERENCE.md are those of the code.
func TestReference(t *testing.T) {
	app := quietProgram().app()
	text, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	want := replacePart(t, string(text), "commands", commandsReference(app))
	compareFile(t, "REFERENCE.md", replacePart(t, want, "flags", flagsReference(app)))
}

// replacePart replaces a generated part of text.
func replacePart(t *testing.T, text, name, part string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, "<!-- begin "+name+" -->\n")
	_, after, ended := strings.Cut(rest, "<!-- end "+name+" -->\n")
	if !ok || !ended {
		t.Fatalf("REFERENCE.md has no part %s", name)
	}
	return before + "<!-- begin " + name + " -->\n\n" + part + "<!-- end " + name + " -->\n" + after
}

// commandsReference returns the section of each command.
func commandsReference(app *cli.App) string {
	var b strings.Builder
	for _, cmd := range app.VisibleCommands() {
		fmt.Fprintf(&b, "### wstun %s\n\n    %s\n\n%s.\n\n", cmd.Name, cmd.UsageText, markdown(capitalized(cmd.Usage)))
		for paragraph := range strings.SplitSeq(cmd.Description, "\n\n") {
			if strings.HasPrefix(paragraph, " ") {
				paragraph = "    " + strings.ReplaceAll(paragraph[2:], "\n  ", "\n    ")
			} else {
				paragraph = markdown(strings.Join(wrap(paragraph, 126), "\n"))
			}
			if paragraph != "" {
				fmt.Fprintf(&b, "%s\n\n", paragraph)
			}
		}
		b.WriteString("```sh\n")
		for _, e := range examples[cmd.Name] {
			fmt.Fprintf(&b, "# %s\n%s\n", e.purpose, e.line)
		}
		b.WriteString("```\n\n")
	}
	return b.String()
}

// flagsReference returns a table for each group of flags. A flag that differs between
// commands has several descriptions in one row.
func flagsReference(app *cli.App) string {
	type entry struct {
		group, term string
		texts       []string
		commands    map[string][]string // by text
		variables   []string
	}
	var entries []*entry
	for _, cmd := range app.VisibleCommands() {
		for _, g := range groupFlags(cmd) {
			flags := slices.Concat(g.flags, g.rare)
			for i, r := range flagRows(flags) {
				term := strings.TrimSpace(r.term)
				at := slices.IndexFunc(entries, func(e *entry) bool { return e.group == g.name && e.term == term })
				if at < 0 {
					at = len(entries)
					entries = append(entries, &entry{group: g.name, term: term, commands: map[string][]string{}, variables: flags[i].(cli.DocGenerationFlag).GetEnvVars()})
				}
				e := entries[at]
				if e.commands[r.text] == nil {
					e.texts = append(e.texts, r.text)
				}
				e.commands[r.text] = append(e.commands[r.text], cmd.Name)
			}
		}
	}
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "### %s\n\n| flag | effect |\n|---|---|\n", g.name)
		for _, e := range entries {
			if e.group != g.name {
				continue
			}
			var texts []string
			for _, text := range e.texts {
				texts = append(texts, "**"+strings.Join(e.commands[text], ", ")+":** "+markdown(text)+".")
			}
			for _, v := range e.variables {
				texts = append(texts, "`"+v+"`")
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", e.term, strings.Join(texts, " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var special = strings.NewReplacer("*", `\*`, "<", `\<`, "|", `\|`)

// markdown escapes text.
func markdown(text string) string { return special.Replace(text) }

// REFERENCE.md, or inspect/api.md, names all events, members, variables, files and exit statuses in the
// sources.
func TestReferenceIsComplete(t *testing.T) {
	section := func(title string) string {
		_, text, ok := strings.Cut(reference, "\n## "+title+"\n")
		if !ok {
			t.Fatalf("no section %s", title)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	require := func(title, name string) {
		t.Helper()
		if !strings.Contains(section(title), "`"+name+"`") {
			t.Errorf("REFERENCE.md: section %s doesn't have `%s`", title, name)
		}
	}
	for kind := trace.ClientHeader; kind <= trace.Lost; kind++ {
		require("Events", kind.String())
	}
	patterns := []struct {
		title   string
		pattern *regexp.Regexp
	}{
		{"Events", regexp.MustCompile(`\bjson:"(\w+)`)},
		{"Events", regexp.MustCompile(`\.event\("(\w+)"`)},
		{"Events", regexp.MustCompile(`map\[string\]any\{(?:[^}]*, )?"(\w+)":`)},
		{"Variables", regexp.MustCompile(`(?:Getenv|LookupEnv)\("(\w+)"\)`)},
		{"Variables", regexp.MustCompile(`"(WSTUN_[A-Z_]+)[="]`)},
		{"Files", regexp.MustCompile(`filepath\.Join\(\w+, "(wstun", "\w+)"`)},
	}
	api, err := os.ReadFile("inspect/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range patterns {
			for _, m := range p.pattern.FindAllSubmatch(text, -1) {
				if p.title == "Events" && strings.HasPrefix(path, "inspect/") { // it has no events, but an API
					if !regexp.MustCompile(`\b` + string(m[1]) + `\b`).Match(api) {
						t.Errorf("inspect/api.md doesn't have %s", m[1])
					}
					continue
				}
				require(p.title, strings.ReplaceAll(string(m[1]), `", "`, "/"))
			}
		}
	}
	statuses := regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllString(section("Exit statuses"), -1)
	for name, value := range exitConstants(t) {
		if !slices.ContainsFunc(statuses, regexp.MustCompile(`\b`+value+`\b`).MatchString) {
			t.Errorf("REFERENCE.md: no exit status %s, which is %s", value, name)
		}
	}
}

// sources returns the paths of the sources of this package and those below it.
func sources(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".pb.go") {
			paths = append(paths, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// exitConstants returns the values of the constants exit… and status… of this package.
func exitConstants(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, path := range sources(t) {
		if filepath.Dir(path) != "." {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if ok && len(spec.Values) == 1 && regexp.MustCompile(`^(exit|status)[A-Z]`).MatchString(spec.Names[0].Name) {
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.INT {
					values[spec.Names[0].Name] = lit.Value
				}
			}
			return true
		})
	}
	if len(values) == 0 {
		t.Fatal("no exit statuses in the sources")
	}
	return values
}
