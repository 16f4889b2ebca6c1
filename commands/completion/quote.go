package completion

import (
	"regexp"
	"strings"
)

var parameter = regexp.MustCompile(`\$(?:\w+|\{\w+\})`)

// expand fills in the variables that lookUp knows.
func expand(word string, lookUp func(string) (string, bool)) string {
	return parameter.ReplaceAllStringFunc(word, func(p string) string {
		if value, ok := lookUp(strings.Trim(p, "${}")); ok {
			return value
		}
		return p
	})
}

// unquote returns what a word on a POSIX shell's command line stands for, so far as
// that can be told without running anything: without quotes and backslashes, with the
// home folder and the variables that lookUp knows filled in. A quote need not be
// closed. What else there is, such as $(command), stays as it is.
func unquote(word string, lookUp func(string) (string, bool)) string {
	var out strings.Builder
	if home, ok := lookUp("HOME"); ok && strings.HasPrefix(word, "~/") {
		out.WriteString(home)
		word = word[1:]
	}
	var quote byte // the one that is open; 0: none
	for len(word) > 0 {
		ch, n := word[0], 1
		switch {
		case ch == quote:
			quote = 0
		case quote == 0 && (ch == '\'' || ch == '"'):
			quote = ch
		case quote == '\'':
			out.WriteByte(ch)
		case ch == '\\' && len(word) > 1 && (quote == 0 || strings.IndexByte("$`\"\\", word[1]) >= 0):
			out.WriteByte(word[1])
			n = 2
		case ch == '$':
			if at := parameter.FindStringIndex(word); at != nil && at[0] == 0 {
				n = at[1]
			}
			out.WriteString(expand(word[:n], lookUp))
		default:
			out.WriteByte(ch)
		}
		word = word[n:]
	}
	return out.String()
}
