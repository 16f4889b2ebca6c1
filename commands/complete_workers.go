package commands

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/tunnel/relay"
)

// completeWorker completes the name of a Worker, which follows prefix in the word. It asks
// the relay that the words of the command line before mean.
func (c *completer) completeWorker(ctx context.Context, cmd *cli.Command, words []string, prefix, value string) *completion.Answer {
	var names []completion.Candidate
	for _, name := range c.workers(ctx, cmd, words, value) {
		names = append(names, completion.Candidate{Text: prefix + name.Text})
	}
	return answer(prefix+value, names)
}

// workers runs wstun workers with the URL and those of its flags that are in words, which
// follow cmd. The names begin with value.
func (c *completer) workers(ctx context.Context, cmd *cli.Command, words []string, value string) (names []completion.Candidate) {
	p := quietProgram()
	app := p.app()
	workers := app.Command("workers")
	l := parseLine(cmd.Flags, words)
	var line []string
	for _, f := range l.flags {
		if f.flag != nil && findFlag(workers.Flags, f.flag.Names()[0]) != nil {
			line = append(line, f.words...)
		}
	}
	if i := targetIndex(cmd); i >= 0 && len(l.operands) > i {
		line = append(line, l.operands[i])
	}
	var o *workersOptions
	p.parsed = func(options any) { o, _ = options.(*workersOptions) }
	if err := p.run(ctx, app, append([]string{app.Name, "workers"}, line...)); err != nil || o == nil {
		return nil
	}
	o.prefix, o.limit, o.log = value, relay.DefaultLimit, logOptions{level: "error", format: "text"}
	asked := *o
	asked.endpoint.Given, asked.endpoint.Secrets = nil, nil
	dir, _ := os.Getwd() // paths may be relative
	key := fmt.Sprintf("workers %q %q %q", dir, os.Getenv("WSTUN_TOKEN"), fmt.Sprintf("%+v", asked))
	if names, ok := c.cache.Get(key); ok {
		return names
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	list, err := p.fetchWorkers(ctx, o)
	if err != nil {
		return nil
	}
	for _, info := range list.Workers {
		names = append(names, completion.Candidate{Text: info.Name})
	}
	c.cache.Put(key, names)
	return names
}
