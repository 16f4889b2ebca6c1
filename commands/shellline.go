package commands

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
)

// shellLine returns a command line for a POSIX shell: wstun, the command and words, with
// *** in place of secrets.
func shellLine(cmd *cli.Command, words ...string) string {
	l := parseLine(cmd.Flags, words)
	all := []string{"wstun", cmd.Name}
	for _, f := range l.flags {
		all = append(all, f.masked()...)
	}
	for _, word := range slices.Concat(l.operands, l.rest) {
		all = append(all, masked(word))
	}
	for i, word := range all {
		all[i] = usage.Quote(word)
	}
	return strings.Join(all, " ")
}

// otherCommand returns a command line of another command, with the TARGET, those of the flags
// that it has, and the operands.
func (p *program) otherCommand(name string, operands ...string) string {
	cmd := quietProgram().app().Command(name)
	var words []string
	if given := p.line.operands; len(given) > 0 && (target.IsTarget(given[0]) || p.line.uses("unix")) {
		words = given[:1:1]
	}
	for _, f := range p.line.flags {
		if f.flag != nil && findFlag(cmd.Flags, f.flag.Names()[0]) != nil {
			words = append(words, f.words...)
		}
	}
	return shellLine(cmd, append(words, operands...)...)
}

// masked returns the words with *** in place of secrets. Of the values of known flags, only
// headers and URLs have any.
func (f flagWords) masked() []string {
	words, last := slices.Clone(f.words), len(f.words)-1
	name, value := "", words[last]
	if f.flag == nil { // such as -HName: value
		if i := strings.IndexAny(value, "=: "); i > 0 {
			words[last] = value[:i+1] + "***"
		}
		return words
	}
	if i := strings.IndexByte(value, '='); last == 0 {
		name, value = value[:i+1], value[i+1:]
	}
	switch _, kind := describeFlag(f.flag); {
	case kind == "URL":
		words[last] = name + masked(value)
	case strings.HasSuffix(kind, ": value'"):
		header, _, _ := strings.Cut(value, ":")
		words[last] = name + header + ": ***"
	}
	return words
}

var header = regexp.MustCompile(`^[\w-]+: `)

// masked returns word with *** in place of the value of a header, or of the user and the
// query of a URL.
func masked(word string) string {
	if name := header.FindString(word); name != "" {
		return name + "***"
	}
	redacted := endpoint.Redact(word)
	if redacted == word || strings.Contains(word, " ") || isData(word) {
		return word
	}
	if scheme, rest, ok := strings.Cut(redacted, "://"); ok && strings.Contains(word, "@") {
		redacted = scheme + "://***@" + rest
	}
	if strings.Contains(word, "?") {
		redacted += "?***"
	}
	return redacted
}
