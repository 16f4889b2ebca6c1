//go:build unix

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestContributing looks for the folders and files that CONTRIBUTING.md names, and for the
// tests of its commands.
func TestContributing(t *testing.T) {
	t.Parallel()
	const file = "CONTRIBUTING.md"
	for row := range strings.Lines(readSection(t, file, "## A tour of the code")) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			continue
		}
		parent := "." // of the row's first name: the others are beside it
		for i, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			path := m[1]
			if i == 0 {
				parent = filepath.Dir(path)
			} else if _, err := os.Stat(path); err != nil {
				path = filepath.Join(parent, path)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tests := regexp.MustCompile(`(?m)^go test .*-run '?([\w|]+)(?:/(\w+))?'? .*?(\./\S+)|^go test (\./\S+) -run '?([\w|]+)`)
	n := 0
	for _, m := range tests.FindAllStringSubmatch(strings.Join(blocks(string(text), "sh"), ""), -1) {
		dir, names := m[3]+m[4], m[1]+m[5]
		for name := range strings.SplitSeq(names, "|") {
			if !hasTest(t, dir, name) {
				t.Errorf("%s: %s has no test %s: %s", file, dir, name, m[0])
			}
			n++
		}
		if m[2] != "" {
			if _, err := os.Stat(filepath.Join("testdata/script", m[2]+".txtar")); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if n < 5 {
		t.Errorf("%s: found %d tests in its commands, want at least 5", file, n)
	}
}

// hasTest reports whether a test in a folder has name in its own.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?m)^func Test\w*` + strings.TrimPrefix(name, "Test") + `\w*\(`).Match(source) {
			return true
		}
	}
	return false
}
