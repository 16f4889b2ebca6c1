//go:build unix

package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeQuickStart runs the README's quick start, with two free ports in
// place of the default ones, and compares the output.
func TestReadmeQuickStart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d terminals in the quick start, want 2", len(blocks))
	}
	ports := strings.NewReplacer() // the README's ports by those of this run
	var replaced []string
	for _, block := range blocks {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			want = strings.TrimRight(want, "\n") + "\n"
			command = ports.Replace(command)
			background, isBackground := strings.CutSuffix(command, " &")
			if !isBackground && !strings.HasSuffix(command, " serve") {
				if got := runCommand(t, command); got != want {
					t.Errorf("$ %s\n%swant\n%s", command, got, want)
				}
				continue
			}
			got := startCommand(t, background)
			port := regexp.MustCompile(`:(\d+)`)
			if port.ReplaceAllString(got, "") != port.ReplaceAllString(want, "") {
				t.Fatalf("$ %s\n%swant\n%s", command, got, want)
			}
			replaced = append(replaced, port.FindString(want), port.FindString(got))
			ports = strings.NewReplacer(replaced...)
		}
	}
}

// The README's library example is the package's, except for the indentation.
func TestReadmeLibraryExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("tunnel/wsmux/wsmux_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no example in the README")
	}
	if !strings.Contains(unindent(string(example)), unindent(string(block[1]))) {
		t.Error("the README's example is not the one that the package's tests run")
	}
}

func unindent(s string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(s, "") }
