package completion

import (
	"strings"
	"testing"
)

func TestUnquote(t *testing.T) {
	t.Parallel()
	lookUp := func(name string) (string, bool) {
		value, ok := map[string]string{"HOME": "/home/me", "URL": "ws://h/", "E": ""}[name]
		return value, ok
	}
	tests := []struct{ word, want string }{
		{``, ``},
		{`ws://127.0.0.1:7070/`, `ws://127.0.0.1:7070/`},
		{`'Name: value'`, `Name: value`},
		{`"Name: value"`, `Name: value`},
		{`a\ b\'c`, `a b'c`},
		{`"a\b\"c\\"`, `a\b"c\`},
		{`'a\'b`, `a\b`},
		{`--header='X: '"y"`, `--header=X: y`},
		{`$URL`, `ws://h/`},
		{`"${URL}x"`, `ws://h/x`},
		{`'$URL'`, `$URL`},
		{`\$URL`, `$URL`},
		{`a$E`, `a`},
		{`$UNKNOWN`, `$UNKNOWN`},
		{`$`, `$`},
		{`~/x`, `/home/me/x`},
		{`a~/x`, `a~/x`},
		{`'open`, `open`},
		{`"open $URL`, `open ws://h/`},
		{`back\`, `back\`},
		{"$(touch x)`touch x`", "$(touch x)`touch x`"},
		{`'größer'`, `größer`},
	}
	for _, tt := range tests {
		if got := unquote(tt.word, lookUp); got != tt.want {
			t.Errorf("unquote(%s) = %s, want %s", tt.word, got, tt.want)
		}
	}
}

func TestWords(t *testing.T) {
	t.Setenv("WSTUN_TEST_URL", "ws://h/")
	tests := []struct{ shell, word, want string }{
		{"bash", `"$WSTUN_TEST_URL"`, `ws://h/`},
		{"zsh", `"$WSTUN_TEST_URL"`, `ws://h/`},
		{"fish", `$WSTUN_TEST_URL`, `ws://h/`},
		{"fish", `it's`, `it's`},
		{"powershell", `.`, ``},
		{"powershell", `..\x`, `.\x`},
	}
	for _, tt := range tests {
		if got := Words(tt.shell, []string{tt.word}); len(got) != 1 || got[0] != tt.want {
			t.Errorf("Words(%s, %s) = %q, want %q", tt.shell, tt.word, got, tt.want)
		}
	}
}

// WriteTo leaves out names that would control the terminal or the script.
func TestAnswerFiltersCandidates(t *testing.T) {
	t.Parallel()
	a := &Answer{
		Candidates: []Candidate{
			{"pkg.Svc", "a service"},
			{"pkg.Other", ""},
			{"", "nothing"},
			{":files /", ""},
			{"two\nlines", ""},
			{"a\tb", ""},
			{"\x1b[2Jscreen", ""},
			{"pkg.Described", "\x1b]0;title\a"},
		},
		Paths:  Folders,
		Prefix: "--import-path=",
	}
	var out strings.Builder
	if _, err := a.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	want := "pkg.Svc\ta service\npkg.Other\n:folders --import-path=\n"
	if out.String() != want {
		t.Errorf("written: %q, want %q", out.String(), want)
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range Shells {
		script, ok := Script(shell)
		if !ok || !strings.Contains(script, "__complete "+shell) {
			t.Errorf("Script(%q) doesn't run wstun __complete %s", shell, shell)
		}
	}
	for _, other := range []string{"", "ksh", "ps1/../bash"} {
		if _, ok := Script(other); ok {
			t.Errorf("there is a Script(%q)", other)
		}
	}
}
