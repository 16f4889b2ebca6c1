//go:build linux || darwin

package e2e

import (
	"os"
	"strings"
	"testing"
)

// Help is as wide as the terminal, but at most 120 columns, and 80 in a pipe.
func TestHelpWidth(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	golden := func(name string) string {
		text, err := os.ReadFile("commands/testdata/help/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got, want := runCommand(t, "wstun call --help"), golden("call.80.txt"); got != want {
		t.Errorf("in a pipe:\n%s\nwant\n%s", got, want)
	}
	s := startInTerminal(t, nil, "call", "--help") // 200 columns
	s.await(`prints \d+ more flags\.\r\n`)
	s.wantExit(0)
	if got, want := strings.ReplaceAll(s.screen.String(), "\r\n", "\n"), golden("call.120.txt"); got != want {
		t.Errorf("in a terminal:\n%s\nwant\n%s", got, want)
	}
}
