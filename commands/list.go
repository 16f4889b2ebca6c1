package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

func (p *program) listCommand() *cli.Command {
	o := &listOptions{}
	p.targets["list"] = &o.target
	return &cli.Command{
		Name:      "list",
		Usage:     "list the services of a gRPC server, or the methods of one",
		ArgsUsage: "[TARGET] [SERVICE]",
		UsageText: "wstun list [flags] [TARGET] [SERVICE]",
		Description: targetDescription + "\n\n" +
			"SERVICE may be short if only one service matches. Without a TARGET the services are\n" +
			"those of --proto or --protoset.",
		Flags:  slices.Concat(o.export.flags("the shown symbols and their"), o.target.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.list),
	}
}

// listOptions are the values of the command line of wstun list.
type listOptions struct {
	export  exportOptions
	target  target.Options
	log     logOptions
	service string // may be empty
}

func (o *listOptions) parse(in *invocation) error {
	names, err := in.targetArguments(&o.target, 1)
	if len(names) > 0 {
		o.service = names[0]
	}
	return err
}

func (p *program) list(ctx context.Context, o *listOptions) error {
	ctx, t, err := p.openTarget(ctx, &o.target, &o.log)
	if err != nil {
		return err
	}
	defer t.Close()
	if o.service == "" {
		return p.listServices(ctx, o, t)
	}
	s, err := t.Catalog.Resolve(ctx, reflection.Service, o.service)
	if err != nil {
		return err
	}
	methods := s.Descriptor.(protoreflect.ServiceDescriptor).Methods() //nolint:errcheck // Resolve was asked for a service
	var lines []string
	for i := range methods.Len() {
		lines = append(lines, string(methods.Get(i).FullName()))
	}
	if err := p.printList(ctx, lines, "(No methods)"); err != nil {
		return err
	}
	return o.export.write([]protoreflect.Descriptor{s.Descriptor})
}

func (p *program) listServices(ctx context.Context, o *listOptions, t *target.Target) error {
	services, err := t.Catalog.Services(ctx)
	if err != nil {
		return err
	}
	if err := p.printList(ctx, services, "(No services)"); err != nil {
		return err
	}
	if o.export == (exportOptions{}) {
		return nil
	}
	var symbols []protoreflect.Descriptor
	for _, name := range services {
		s, err := t.Catalog.Find(ctx, protoreflect.FullName(name))
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		symbols = append(symbols, s.Descriptor)
	}
	return o.export.write(symbols)
}

// printList sorts lines and prints them, or none if there are no lines.
func (p *program) printList(ctx context.Context, lines []string, none string) error {
	slices.Sort(lines)
	if len(lines) == 0 {
		lines = []string{none}
	}
	for i, line := range lines {
		lines[i] = escape.Line(line)
	}
	return call.Write(ctx, p.stdout, strings.Join(lines, "\n")+"\n")
}
