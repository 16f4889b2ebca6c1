package completion

import (
	"regexp"
	"strings"
)

var parameter = regexp.MustCompile(`\$(?:\w+|\{\w+\})`)

// expand replaces $NAME and ${NAME} by the variable's value, if lookUp has one.
func expand(word string, lookUp func(string) (string, bool)) string {
	return parameter.ReplaceAllStringFunc(word, func(p string) string {
		if value, ok := lookUp(strings.Trim(p, "${}")); ok {
			return value
		}
		return p
	})
}

// unquote returns the value of a word on a POSIX shell's command line: it removes quotes
// and backslashes, and expands ~/ and variables that lookUp has. The last quote may be
// unclosed. Other expansions, such as $(command), are not performed.
func unquote(word string, lookUp func(string) (string, bool)) string {
	var out strings.Builder
	if home, ok := lookUp("HOME"); ok && strings.HasPrefix(word, "~/") {
		out.WriteString(home)
		word = word[1:]
	}
	var quote byte // the open quote; 0: none
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
