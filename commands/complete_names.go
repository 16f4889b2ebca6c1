package commands

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/commands/config"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/reflection"
)

// completeOperand completes an argument that is not a flag, of the kinds in the command's
// ArgsUsage. before is the command line before the word, with the command first, and l the
// part after the command.
func (c *completer) completeOperand(ctx context.Context, cmd *cli.Command, before []string, l *line, word string) *completion.Answer {
	usage, _, _ := strings.Cut(cmd.ArgsUsage, "[--")
	kinds, operands := strings.Fields(usage), l.operands
	if i := targetIndex(cmd); i >= 0 && l.uses("target") {
		kinds = slices.Delete(kinds, i, i+1)
	} else if i == 0 && kinds[0] == "TARGET" && os.Getenv("WSTUN_TARGET") != "" {
		kinds[0] = "[TARGET]"
	}
	all := &completion.Answer{}
	if len(kinds) > 0 && kinds[0] == "[TARGET]" && !l.uses("unix") {
		switch {
		case len(operands) > 0 && !target.IsTarget(operands[0]): // descriptors are local
			kinds = kinds[1:]
		case len(operands) == 0 && !target.IsTarget(word): // it may become either
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
	if kind != "[URL]" {
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
		return completeOneOf("", word, completion.Shells...)
	case "FILE":
		return &completion.Answer{Paths: completion.Files}
	case "[URL]": // the default isn't suggested
		return c.completeTarget(ctx, before, "@", word)
	case "URL":
		all := completeOneOf("", word, endpoint.DefaultURL)
		all.Candidates = append(all.Candidates, c.completeTarget(ctx, before, "@", word).Candidates...)
		return all
	case "TARGET":
		if strings.HasPrefix(word, "unix:") {
			return &completion.Answer{Paths: completion.Files, Prefix: "unix:"}
		}
		all := completeOneOf("", word, endpoint.DefaultURL, defaultListen)
		all.Candidates = append(all.Candidates, c.completeTarget(ctx, before, "@", word).Candidates...)
		return all
	case "PREFIX":
		return c.completeWorker(ctx, quietProgram().app().Command(before[0]), before[1:], "", word)
	case "SERVICE", "METHOD", "SYMBOL":
		return &completion.Answer{Candidates: matchNames(word, c.names(ctx, kind, before))}
	}
	return &completion.Answer{}
}

// completeTarget completes the name of a target, which follows prefix in the word, or also an
// @. before is the command line before the word.
func (c *completer) completeTarget(ctx context.Context, before []string, prefix, word string) *completion.Answer {
	if strings.HasPrefix(word, prefix+"@") {
		prefix += "@"
	}
	var names []completion.Candidate
	p := quietProgram()
	app := p.app()
	app.Command(before[0]).Action = func(c *cli.Context) error {
		file, err := p.loadConfig()
		if err != nil || file == nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(file.Targets)) {
			names = append(names, completion.Candidate{Text: prefix + name, Description: endpoint.Redact(strings.Join(file.Targets[name].Get(config.URL), ""))})
		}
		return nil
	}
	_ = p.run(ctx, app, append([]string{app.Name}, before...)) // on error there are no names
	return answer(word, names)
}

// matchNames returns the completions of a name.
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
	opts := p.targets[words[0]]
	app.Command(words[0]).Action = p.action(func(ctx context.Context, in *invocation) (err error) {
		in.takeTarget(opts)
		opts.Given = in.given
		names, err = c.ask(ctx, p, opts, kind)
		return err
	})
	_ = p.run(ctx, app, append([]string{app.Name}, words...)) // on error there are no names
	return names
}

// ask asks the server of opts, or the local files, for the names of a kind.
func (c *completer) ask(ctx context.Context, p *program, opts *target.Options, kind string) ([]completion.Candidate, error) {
	local := len(opts.Descriptors.Protos)+len(opts.Descriptors.Protosets) > 0
	if opts.Addr == "" && (!local || opts.Endpoint.Accept != "") {
		return nil, nil // there is no server, or it may never connect
	}
	key := cacheKey(opts, kind)
	if names, ok := c.cache.Get(key); ok && !local {
		return names, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_, t, err := p.openTarget(ctx, opts, &logOptions{level: "error", format: "text"})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	names, err := namesIn(ctx, t.Catalog, kind)
	if err == nil && !local {
		c.cache.Put(key, names)
	}
	return names, err
}

// cacheKey returns a key for the server and the credentials of opts.
func cacheKey(opts *target.Options, kind string) string {
	dir, _ := os.Getwd() // paths may be relative
	o := *opts
	o.Given, o.Fail, o.Say, o.Logger = nil, nil, nil, nil // not a part of the question
	o.Endpoint.Given = nil
	return fmt.Sprintf("%q %q %q %+q", kind, dir, os.Getenv("WSTUN_TOKEN"), fmt.Sprintf("%+v", o))
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
		if !full.IsValid() { // a server may send anything
			continue
		}
		candidate := completion.Candidate{Text: name}
		if strings.Contains(name, "/") {
			if s, err := catalog.Find(ctx, full); err == nil { // cached by now
				candidate.Description = signature(s.Descriptor)
			}
		}
		candidates = append(candidates, candidate)
	}
	return candidates, err
}

// signature returns the request and response of a method.
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
