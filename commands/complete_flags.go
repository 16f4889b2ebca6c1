package commands

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/commands/terminal"
)

// flagValues has the values to suggest for a flag, by its name.
var flagValues = map[string][]string{
	"color":         terminal.Modes,
	"format":        {"json", "text"},
	"log-format":    {"text", "json"},
	"log-level":     {"debug", "info", "warn", "error"},
	"output":        {"text", "json"},
	"proxy":         {"none"},
	"record-format": {"json", "pcapng"},
	"yamux-role":    {"client", "server"},
}

// line is the parsed part of a command line between the command and the word to complete.
type line struct {
	used     []cli.Flag
	pending  cli.Flag // the flag whose value is the word to complete; nil: none
	operands []string
}

// uses reports whether l has the flag with a name.
func (l *line) uses(name string) bool {
	return slices.ContainsFunc(l.used, func(f cli.Flag) bool { return f.Names()[0] == name })
}

// parseLine parses words, which don't include "--", as the flag package does: all words
// from the first operand on are operands. It returns false for an unknown flag.
func parseLine(flags []cli.Flag, words []string) (l line, ok bool) {
	for i, word := range words {
		if l.pending != nil {
			l.pending = nil
			continue
		}
		if len(word) < 2 || word[0] != '-' {
			l.operands = words[i:]
			break
		}
		name, _, hasValue := strings.Cut(flagName(word), "=")
		f := findFlag(flags, name)
		if f == nil {
			return line{}, false
		}
		l.used = append(l.used, f)
		if !hasValue && takesValue(f) {
			l.pending = f
		}
	}
	return l, true
}

// flagName returns the name in a word that begins with one or two dashes.
func flagName(word string) string {
	return strings.TrimPrefix(word[1:], "-")
}

// findFlag returns the flag with a name or alias; nil if there is none.
func findFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func isRepeatable(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationSliceFlag)
	return ok && d.IsSliceFlag()
}

// describeFlag returns the description of a flag and, from the backquotes in it, the name
// of its value, such as FILE; empty if it has none.
func describeFlag(f cli.Flag) (text, value string) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	text = d.GetUsage()
	if _, rest, ok := strings.Cut(text, "`"); ok {
		value, _, _ = strings.Cut(rest, "`")
	}
	return strings.ReplaceAll(text, "`", ""), value
}

// completeFlag completes a word that begins with a dash: the name of one of flags, or the
// value after "=". It leaves out names of used flags that can't be repeated.
func completeFlag(flags, used []cli.Flag, word string) *completion.Answer {
	if name, value, ok := strings.Cut(word, "="); ok {
		f := findFlag(flags, flagName(name))
		if f == nil {
			return &completion.Answer{}
		}
		return completeValue(f, name+"=", value)
	}
	var names []completion.Candidate
	for _, f := range flags {
		if slices.Contains(used, f) && !isRepeatable(f) {
			continue
		}
		text, _ := describeFlag(f)
		for _, name := range f.Names() {
			names = append(names, completion.Candidate{Text: dashes(name) + name, Description: text})
		}
	}
	return answer(word, names)
}

// completeValue completes the value of a flag. before is the part of the word before the
// value, such as "--format=". Without flagValues, the answer depends on the name of the
// value, which says whether it is a path.
func completeValue(f cli.Flag, before, value string) *completion.Answer {
	name := f.Names()[0]
	_, kind := describeFlag(f)
	paths := pathsOf(f)
	switch {
	case !takesValue(f):
		return completeOneOf(before, value, "true", "false")
	case flagValues[name] != nil:
		return completeOneOf(before, value, flagValues[name]...)
	case paths != completion.NoPaths:
		return &completion.Answer{Paths: paths, Prefix: before}
	case name == "data" && strings.HasPrefix(value, "@"):
		return &completion.Answer{Paths: completion.Files, Prefix: before + "@"}
	case kind == "ADDR" && strings.HasPrefix(value, "unix:"):
		return &completion.Answer{Paths: completion.Files, Prefix: before + "unix:"}
	}
	return &completion.Answer{}
}

// pathsOf returns the kind of paths that a flag takes as its value.
func pathsOf(f cli.Flag) completion.Paths {
	switch _, kind := describeFlag(f); {
	case kind == "DIR":
		return completion.Folders
	case kind == "FILE", kind == "PATH" && !slices.Contains([]string{"path", "ignore", "unordered"}, f.Names()[0]): // of a URL, of fields
		return completion.Files
	}
	return completion.NoPaths
}

// completeOneOf completes value, which follows before in the word, to one of choices.
func completeOneOf(before, value string, choices ...string) *completion.Answer {
	var candidates []completion.Candidate
	for _, choice := range choices {
		candidates = append(candidates, completion.Candidate{Text: before + choice})
	}
	return answer(before+value, candidates)
}
