package commands

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
)

func (p *program) describeCommand() *cli.Command {
	o := &describeOptions{}
	p.targets["describe"] = &o.target
	return &cli.Command{
		Name:      "describe",
		Usage:     "describe services, methods and messages as proto source",
		ArgsUsage: "[TARGET] [SYMBOL…]",
		UsageText: "wstun describe [flags] [TARGET] [SYMBOL…]",
		Description: targetDescription + "\n\n" +
			"SYMBOL is the full name of anything that a .proto file defines, or the end of the name if\n" +
			"only one symbol matches. Without SYMBOLs, all services are described; without a TARGET,\n" +
			"the symbols of --proto or --protoset.",
		Flags: slices.Concat([]cli.Flag{
			usage.Bool(&o.template, "msg-template", "also show each message filled in, as a start for a request"),
			usage.String(&o.format, "format", "write templates as `FORMAT`: json or text", "json"),
		}, o.export.flags("the shown symbols and their"), o.target.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.describe),
	}
}

// describeOptions are the values of the command line of wstun describe.
type describeOptions struct {
	template bool
	format   string
	export   exportOptions
	target   target.Options
	log      logOptions
	symbols  []string
}

func (o *describeOptions) parse(in *invocation) (err error) {
	if o.symbols, err = in.targetArguments(&o.target, -1); err != nil {
		return err
	}
	return usage.OneOf("format", o.format, "json", "text")
}

func (p *program) describe(ctx context.Context, o *describeOptions) error {
	ctx, t, err := p.openTarget(ctx, &o.target, &o.log)
	if err != nil {
		return err
	}
	defer t.Close()
	names := o.symbols
	find := func(name string) (*reflection.Symbol, error) { return t.Catalog.Resolve(ctx, reflection.Any, name) }
	if len(names) == 0 {
		if names, err = t.Catalog.Services(ctx); err != nil {
			return err
		}
		find = findService(ctx, t.Catalog)
	}
	if len(names) == 0 {
		fmt.Fprintln(p.stdout, "Server returned an empty list of exposed services")
	}
	var template message.Encoding
	if o.template {
		template = message.Encoding(o.format)
	}
	var symbols []protoreflect.Descriptor
	var limit error
	for _, name := range names {
		s, err := find(name)
		if err != nil {
			return err
		}
		text, err := call.Describe(ctx, s.Descriptor, template)
		if err != nil {
			return err
		}
		if err := call.Write(ctx, p.stdout, text); err != nil {
			return err
		}
		symbols = append(symbols, s.Descriptor)
		limit = cmp.Or(limit, s.Incomplete())
	}
	if limit != nil {
		o.target.Logger.Warn("descriptors left out", slog.Any("reason", limit))
	}
	return o.export.write(symbols)
}

// findService returns a function that returns a service of the catalog. It asks for the
// services one by one only if no limit has left out any: a server may have many that are
// slow to process.
func findService(ctx context.Context, c *reflection.Catalog) func(string) (*reflection.Symbol, error) {
	all, limit := c.All(ctx, reflection.Service)
	return func(name string) (*reflection.Symbol, error) {
		switch s := all[protoreflect.FullName(name)]; {
		case s != nil:
			return s, nil
		case limit != nil:
			return nil, fmt.Errorf("describe %s: %w", name, limit)
		}
		return c.Resolve(ctx, reflection.Service, name)
	}
}
