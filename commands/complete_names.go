package commands

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/reflection"
)

// completeOperand completes what is no flag. What that may be stands in the command's
// ArgsUsage. before is the command and all that stands before the word, operands what
// of it is no flag.
func (c *completer) completeOperand(ctx context.Context, cmd *cli.Command, before, operands []string, word string) *completion.Answer {
	usage, _, _ := strings.Cut(cmd.ArgsUsage, "[--")
	kinds := strings.Fields(usage)
	all := &completion.Answer{}
	if len(kinds) > 0 && kinds[0] == "[TARGET]" {
		switch {
		case len(operands) > 0 && !isTarget(operands[0]): // descriptors are local
			kinds = kinds[1:]
		case len(operands) == 0 && !isTarget(word): // as long as it may be either
			all = c.completeKind(ctx, "TARGET", before, word)
			kinds = kinds[1:]
		}
	}
	if len(kinds) == 0 {
		return all
	}
	kind := kinds[len(kinds)-1]
	if len(operands) < len(kinds) {
		kind = kinds[len(operands)]
	} else if !strings.Contains(kind, "…") {
		return &completion.Answer{}
	}
	if kind != "[URL]" { // who needs none, is not to get one
		kind = strings.Trim(kind, "[]…")
	}
	more := c.completeKind(ctx, kind, before, word)
	more.Candidates = append(all.Candidates, more.Candidates...)
	return more
}

// completeKind completes a word of one kind, by its name in ArgsUsage.
func (c *completer) completeKind(ctx context.Context, kind string, before []string, word string) *completion.Answer {
	switch kind {
	case "COMMAND":
		return answer(word, commandNames(quietProgram().app()))
	case "SHELL":
		return values("", word, completion.Shells...)
	case "FILE":
		return &completion.Answer{Paths: completion.Files}
	case "URL":
		return values("", word, defaultURL)
	case "TARGET":
		if strings.HasPrefix(word, "unix:") {
			return &completion.Answer{Paths: completion.Files, Prefix: "unix:"}
		}
		return values("", word, defaultURL, defaultListen)
	case "SERVICE", "METHOD", "SYMBOL":
		return &completion.Answer{Candidates: matchNames(word, c.names(ctx, kind, before))}
	}
	return &completion.Answer{}
}

// matchNames returns what a name may become.
func matchNames(word string, all []completion.Candidate) []completion.Candidate {
	var names []string
	descriptions := make(map[string]string)
	for _, c := range all {
		names = append(names, c.Text)
		descriptions[c.Text] = c.Description
	}
	var found []completion.Candidate
	for _, c := range reflection.Complete(word, names) {
		found = append(found, completion.Candidate{Text: c.Text, Description: descriptions[c.Name]})
	}
	return found
}

// names returns the names of a kind at the TARGET, or in the files, of a command line.
func (c *completer) names(ctx context.Context, kind string, words []string) []completion.Candidate {
	var names []completion.Candidate
	p := quietProgram()
	app := p.app()
	app.Command(words[0]).Action = func(line *cli.Context) (err error) {
		names, err = c.ask(line.Context, p, line, kind)
		return err
	}
	_ = app.RunContext(ctx, append([]string{app.Name}, words...)) // there are none then
	return names
}

// ask finds out the names for a command line that p has parsed.
func (c *completer) ask(ctx context.Context, p *program, line *cli.Context, kind string) ([]completion.Candidate, error) {
	where := line.Args().First()
	if !isTarget(where) {
		where = ""
	}
	local := len(line.StringSlice("proto"))+len(line.StringSlice("protoset")) > 0
	if where == "" && (!local || line.String("accept") != "") {
		return nil, nil // it's not known whom to ask, or whether anybody comes
	}
	key := cacheKey(line, where, kind)
	if names, ok := c.cache.Get(key); ok && !local {
		return names, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	line.Context = ctx
	_, t, err := p.openTarget(line, where, false)
	if err != nil {
		return nil, err
	}
	defer t.close()
	names, err := namesIn(ctx, t.Catalog, kind)
	if err == nil && !local {
		c.cache.Put(key, names)
	}
	return names, err
}

// cacheKey tells whom a command line asks, and as whom, from all others.
func cacheKey(line *cli.Context, where, kind string) string {
	var key strings.Builder
	dir, _ := os.Getwd() // paths may be relative
	fmt.Fprintf(&key, "%q %q %q %q", kind, where, dir, os.Getenv("WSTUN_TOKEN"))
	for _, f := range targetFlags() {
		name := f.Names()[0]
		fmt.Fprintf(&key, " %s=%q", name, fmt.Sprint(line.Value(name)))
	}
	return key.String()
}

// namesIn returns the names of a kind that a catalog has.
func namesIn(ctx context.Context, catalog *reflection.Catalog, kind string) (candidates []completion.Candidate, err error) {
	var names []string
	switch kind {
	case "SERVICE":
		names, err = catalog.Services(ctx)
	case "METHOD":
		names, err = catalog.Symbols(ctx, reflection.Method)
	default:
		names, err = catalog.Symbols(ctx, reflection.Any)
	}
	for _, name := range names {
		full := protoreflect.FullName(strings.ReplaceAll(name, "/", "."))
		if !full.IsValid() { // a server may say anything
			continue
		}
		candidate := completion.Candidate{Text: name}
		if strings.Contains(name, "/") {
			if s, err := catalog.Find(ctx, full); err == nil { // it's known by now
				candidate.Description = signature(s.Descriptor)
			}
		}
		candidates = append(candidates, candidate)
	}
	return candidates, err
}

// signature says what a method takes and returns.
func signature(d protoreflect.Descriptor) string {
	method, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return ""
	}
	message := func(isStream bool, m protoreflect.MessageDescriptor) string {
		if isStream {
			return "stream " + string(m.Name())
		}
		return string(m.Name())
	}
	return message(method.IsStreamingClient(), method.Input()) + " → " + message(method.IsStreamingServer(), method.Output())
}
