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
	"control":       {"none"},
	"directory":     {memoryDirectory},
	"format":        {"json", "text"},
	"log-format":    {"text", "json"},
	"log-level":     {"debug", "info", "warn", "error"},
	"output":        {"text", "json"},
	"proxy":         {"none"},
	"record-format": {"json", "pcapng"},
	"takeover":      takeovers,
	"yamux-role":    {"client", "server"},
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
// value after "=". It leaves out names of flags in l that can't be repeated.
func completeFlag(flags []cli.Flag, l *line, word string) *completion.Answer {
	if name, value, ok := strings.Cut(word, "="); ok {
		f := findFlag(flags, flagName(name))
		if f == nil {
			return &completion.Answer{}
		}
		return completeValue(f, name+"=", value)
	}
	var names []completion.Candidate
	for _, f := range flags {
		if l.uses(f.Names()[0]) && !isRepeatable(f) {
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
