package commands

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/completion"
)

// flagValues are those of the flags that want one of a few, by name.
var flagValues = map[string][]string{
	"format":     {"json", "text"},
	"log-format": {"text", "json"},
	"log-level":  {"debug", "info", "warn", "error"},
	"output":     {"text", "json"},
	"proxy":      {"none"},
	"yamux-role": {"client", "server"},
}

// line is what stands behind a command, before the word to complete.
type line struct {
	used     []cli.Flag
	pending  cli.Flag // whose value is to come; nil: none
	operands []string
}

// parseLine takes words apart as the flag package does. ok is false if one looks like
// a flag and isn't.
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

// flagName is a word without its dash or dashes.
func flagName(word string) string {
	return strings.TrimPrefix(word[1:], "-")
}

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

// usage is what there is to say about a flag, and how its value is called.
func usage(f cli.Flag) (text, value string) {
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

// completeFlag completes the name of one of flags, or its value behind =. Flags that
// are used already can't be repeated, unless they collect values.
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
		text, _ := usage(f)
		for _, name := range f.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			names = append(names, completion.Candidate{Text: dashes + name, Description: text})
		}
	}
	return answer(word, names)
}

// completeValue completes the value of a flag. before is what stands before it in the
// same word.
func completeValue(f cli.Flag, before, value string) *completion.Answer {
	name := f.Names()[0]
	_, kind := usage(f)
	switch {
	case !takesValue(f):
		return values(before, value, "true", "false")
	case flagValues[name] != nil:
		return values(before, value, flagValues[name]...)
	case kind == "DIR":
		return &completion.Answer{Paths: completion.Folders, Prefix: before}
	case kind == "FILE", kind == "PATH" && name != "path": // which is one of a URL
		return &completion.Answer{Paths: completion.Files, Prefix: before}
	case name == "data" && strings.HasPrefix(value, "@"):
		return &completion.Answer{Paths: completion.Files, Prefix: before + "@"}
	case kind == "ADDR" && strings.HasPrefix(value, "unix:"):
		return &completion.Answer{Paths: completion.Files, Prefix: before + "unix:"}
	}
	return &completion.Answer{}
}

func values(before, value string, all ...string) *completion.Answer {
	var candidates []completion.Candidate
	for _, v := range all {
		candidates = append(candidates, completion.Candidate{Text: before + v})
	}
	return answer(before+value, candidates)
}
