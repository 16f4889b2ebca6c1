package terminal

import (
	"strings"
	"testing"
)

func TestNewColors(t *testing.T) {
	for _, test := range []struct {
		mode, noColor, term   string
		onTerminal, otherwise bool
	}{
		{"auto", "", "xterm", true, false},
		{"auto", "", "", true, false},
		{"auto", "1", "xterm", false, false},
		{"auto", "", "dumb", false, false},
		{"always", "1", "dumb", true, true}, // a flag is more specific than NO_COLOR
		{"never", "", "xterm", false, false},
	} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.term)
		if got := NewColors(test.mode, true).On(); got != test.onTerminal {
			t.Errorf("%+v: on a terminal %v", test, got)
		}
		if got := NewColors(test.mode, false).On(); got != test.otherwise {
			t.Errorf("%+v: otherwise %v", test, got)
		}
	}
}

func TestPaint(t *testing.T) {
	on := NewColors("always", false)
	if got := on.Paint(Red, "FAIL"); got != "\x1b[31mFAIL\x1b[0m" {
		t.Errorf("%q", got)
	}
	for _, got := range []string{Colors{}.Paint(Red, "FAIL"), on.Paint("", "FAIL"), Strip(on.Paint(Dim, "FAIL"))} {
		if got != "FAIL" {
			t.Errorf("%q, want no color", got)
		}
	}
}

func TestJSON(t *testing.T) {
	on := NewColors("always", false)
	for text, want := range map[string]string{
		`{"a": "b", "n":null}`:    `{B"a"_: G"b"_, B"n"_:Dnull_}`,
		`["a:", "x\"y", 1, true]`: `[G"a:"_, G"x\"y"_, 1, true]`,
		`{"null" : [null]}`:       `{B"null"_ : [Dnull_]}`,
		`"cut \`:                  `G"cut \_`,
		`nul`:                     `nul`,
		``:                        ``,
	} {
		want = strings.NewReplacer("B", string(Blue), "G", string(Green), "D", string(Dim), "_", reset).Replace(want)
		if got := on.JSON(text); got != want {
			t.Errorf("JSON(%s) = %q, want %q", text, got, want)
		}
		if got := (Colors{}).JSON(text); got != text {
			t.Errorf("off: %q", got)
		}
	}
}

// Coloring only adds sequences, whatever the text.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a": ["b\\", null, 1e3]}`)
	f.Add("\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		if got := Strip(NewColors("always", false).JSON(text)); !strings.Contains(text, "\x1b") && got != text {
			t.Errorf("%q, want %q", got, text)
		}
	})
}

func TestASCII(t *testing.T) {
	for _, test := range []struct {
		all, lang string
		want      bool
	}{{"", "", false}, {"", "de_DE.utf8", false}, {"C", "de_DE.UTF-8", true}, {"C.UTF-8", "C", false}} {
		t.Setenv("LC_ALL", test.all)
		t.Setenv("LC_CTYPE", "")
		t.Setenv("LANG", test.lang)
		if got := ASCII(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
