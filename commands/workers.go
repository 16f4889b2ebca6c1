package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/relay"
)

func (p *program) workersCommand() *cli.Command {
	o := &workersOptions{}
	return &cli.Command{
		Name:      "workers",
		Usage:     "list the workers that are connected to a relay",
		ArgsUsage: "URL [PREFIX]",
		UsageText: "wstun workers [flags] URL [PREFIX]",
		Description: "Asks the relay at the URL for the workers that this user may dial, and whose names begin\n" +
			"with PREFIX. Of several relays, those of all are listed, and a warning names the relays\n" +
			"that don't answer in time.",
		Flags: slices.Concat(o.endpoint.RequestFlags(), []cli.Flag{
			usage.Int(&o.limit, "limit", "list at most `N` workers", relay.DefaultLimit),
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: an object a worker", "text"),
		}, o.log.flags("warn")),
		Action: action(p, o, p.workers),
	}
}

// workersOptions are the values of the command line of wstun workers.
type workersOptions struct {
	endpoint       endpoint.Options
	prefix, output string
	limit          int
	log            logOptions
}

func (o *workersOptions) parse(in *invocation) error {
	o.endpoint.Given, o.endpoint.Secrets = in.given, in.secrets
	args, err := in.arguments(2)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return &usage.Error{Err: errors.New("no URL"), Advice: "give the URL of the relay, such as wss://relay.example/"}
	}
	if o.endpoint.URL = args[0]; len(args) > 1 {
		o.prefix = args[1]
	}
	if o.limit < 1 || o.limit > relay.MaxLimit {
		return usage.Errorf("--limit %d: want 1 to %d", o.limit, relay.MaxLimit)
	}
	return usage.OneOf("output", o.output, "text", "json")
}

func (p *program) workers(ctx context.Context, o *workersOptions) error {
	l, err := p.fetchWorkers(ctx, o)
	if err != nil {
		return err
	}
	p.pipes = true
	if l.More {
		fmt.Fprintf(p.stderr, "wstun: there are more than %d: give a PREFIX, or another --limit\n", o.limit)
	}
	for _, id := range l.Missing {
		fmt.Fprintf(p.stderr, "wstun: no answer of relay %s: its workers are missing\n", escape.Line(id))
	}
	if o.output == "json" {
		for _, w := range l.Workers {
			text, err := json.Marshal(w)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "%s\n", escape.Text(string(text)))
		}
		return nil
	}
	if len(l.Workers) == 0 {
		fmt.Fprintln(p.stdout, "(No workers)")
		return nil
	}
	return writeWorkers(p.stdout, l, time.Now())
}

// fetchWorkers asks the relay.
func (p *program) fetchWorkers(ctx context.Context, o *workersOptions) (*relay.List, error) {
	e, err := endpoint.NewDialing(&o.endpoint)
	if err != nil {
		return nil, err
	}
	logger, err := p.newLogger(&o.log)
	if err != nil {
		return nil, err
	}
	if e.TLS.Insecure() {
		logger.Warn("the peer's certificate is not verified")
	}
	l, err := relay.FetchList(ctx, e.URL, o.prefix, o.limit, e.DialOptions(logger))
	if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUpgradeRequired}, he.StatusCode) {
		err = &noRelayError{err}
	}
	return l, err
}

// noRelayError says that a server isn't a relay.
type noRelayError struct{ err error }

func (e *noRelayError) Error() string { return e.err.Error() }
func (e *noRelayError) Unwrap() error { return e.err }

// Hint returns advice.
func (e *noRelayError) Hint() string {
	return "want the URL of wstun relay, with the path that is its --path, and without /v1/"
}

// writeWorkers writes a table of l.
func writeWorkers(w io.Writer, l *relay.List, now time.Time) error {
	hasRelay := slices.ContainsFunc(l.Workers, func(info relay.WorkerInfo) bool { return info.Relay != "" })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, up, relay string) {
		cells := []string{name, up}
		if hasRelay {
			cells = append(cells, relay)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	line("WORKER", "UP FOR", "RELAY")
	for _, info := range l.Workers {
		up := "-"
		if !info.Since.IsZero() {
			up = age(now, info.Since)
		}
		line(info.Name, up, escape.Line(info.Relay))
	}
	return t.Flush()
}
