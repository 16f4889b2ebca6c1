// Package terminal decides what a terminal can show: colors, and characters beyond ASCII.
//
//	colors := terminal.NewColors("auto", isTerminal)
//	fmt.Fprintln(w, colors.Paint(terminal.Green, "ok"))
//
// Text that may be a peer's is escaped first: the sequences here would be escaped, too.
package terminal

import (
	"os"
	"strings"
)

// Color is an SGR sequence (ECMA-48 §8.3.117). The empty one doesn't color.
type Color string

// The colors.
const (
	Red    Color = "\x1b[31m"
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Blue   Color = "\x1b[34m"
	Dim    Color = "\x1b[2m"

	reset = "\x1b[0m"
)

// Modes are the values of --color.
var Modes = []string{"auto", "always", "never"}

// Colors colors text if it is on. The zero value is off.
type Colors struct{ on bool }

// NewColors returns the Colors of an output in one of the Modes. In the mode auto, they are
// on for a terminal, unless it is a dumb one or NO_COLOR is set (https://no-color.org).
func NewColors(mode string, isTerminal bool) Colors {
	switch mode {
	case "always":
		return Colors{true}
	case "never":
		return Colors{}
	}
	return Colors{isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// On reports whether the colors are on.
func (cs Colors) On() bool { return cs.on }

// Paint returns text in the color c.
func (cs Colors) Paint(c Color, text string) string {
	if !cs.on || c == "" || text == "" {
		return text
	}
	return string(c) + text + reset
}

// Reset returns the sequence that ends all colors, for a text that was cut.
func (cs Colors) Reset() string {
	if !cs.on {
		return ""
	}
	return reset
}

// Strip returns text without the sequences of Paint.
func Strip(text string) string {
	if !strings.Contains(text, reset) {
		return text
	}
	return strip.Replace(text)
}

var strip = strings.NewReplacer(string(Red), "", string(Green), "", string(Yellow), "", string(Blue), "", string(Dim), "", reset, "")

// ASCII reports whether the locale has only ASCII characters.
func ASCII() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(os.Getenv(name)); locale != "" {
			return !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8")
		}
	}
	return false
}
