package commands

import (
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

func TestParseMaxTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "0.25": 250 * time.Millisecond, "1m30s": 90 * time.Second, "2h": 2 * time.Hour,
	} {
		if got, err := parseMaxTime(in); err != nil || got != want {
			t.Errorf("parseMaxTime(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"-1", "-1s", "soon", "1e30", "NaN", "Inf"} {
		if got, err := parseMaxTime(in); exitStatus(err) != exitUsage {
			t.Errorf("parseMaxTime(%q) = %v, %v, want a usage error", in, got, err)
		}
	}
}

func TestTargetArguments(t *testing.T) {
	tests := []struct {
		args        []string
		where, rest string // "!": a usage error
	}{
		{nil, "", ""},
		{[]string{"ws://h/p"}, "ws://h/p", ""},
		{[]string{"h:1", "a.B"}, "h:1", "a.B"},
		{[]string{":1"}, ":1", ""},
		{[]string{"unix:x", "/a.B"}, "unix:x", "/a.B"},
		{[]string{"unix:///x", "/a.B"}, "unix:///x", "/a.B"},
		{[]string{"a.B"}, "", "a.B"},
		{[]string{"a.B", "c.D"}, "", "!"},
		{[]string{"h:1", "a.B", "c.D"}, "", "!"},
		{[]string{"h:1", ""}, "", "!"},
	}
	for _, tt := range tests {
		p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
		app := p.app()
		var where, rest string
		app.Command("list").Action = func(c *cli.Context) error {
			w, r, err := p.targetArguments(c, 1)
			where, rest = w, strings.Join(r, " ")
			return err
		}
		err := app.RunContext(t.Context(), append([]string{"wstun", "list"}, tt.args...))
		if exitStatus(err) == exitUsage {
			where, rest = "", "!"
		}
		if where != tt.where || rest != tt.rest {
			t.Errorf("%q = %q, %q (%v), want %q, %q", tt.args, where, rest, err, tt.where, tt.rest)
		}
	}
}

func TestHeaderLines(t *testing.T) {
	t.Setenv("ONE", "1:${TWO}")
	t.Setenv("EMPTY", "")
	for in, want := range map[string]string{
		"x: ${ONE}":     "x: 1:${TWO}", // not expanded again
		"x: a${EMPTY}b": "x: ab",
		"x: $ONE":       "x: $ONE",
		"x: ${}":        "x: ${}",
		"x: ${MISSING}": "!",
	} {
		p := &program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}
		app := p.app()
		var got []string
		app.Command("list").Action = func(c *cli.Context) (err error) {
			got, err = headerLines(c, "header")
			return err
		}
		err := app.RunContext(t.Context(), []string{"wstun", "list", "--expand-headers", "-H", in})
		if exitStatus(err) == exitUsage {
			got = []string{"!"}
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q becomes %q (%v), want %q", in, got, err, want)
		}
	}
}
