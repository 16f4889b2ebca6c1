package commands

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the services of a gRPC server, or the methods of one",
		ArgsUsage: "[TARGET] [SERVICE]",
		UsageText: "wstun list [flags] [TARGET] [SERVICE]",
		Description: targetDescription + "\n\n" +
			"SERVICE may be short, as long as it's plain which one is meant. Without a TARGET the\n" +
			"services are those of --proto or --protoset.",
		Flags:  slices.Concat(exportFlags(), targetFlags()),
		Action: p.list,
	}
}

const targetDescription = "TARGET is the URL of a WebSocket, to call through a session: ws://, wss://, http:// or\n" +
	"https://; or a gRPC server's host:port, :port (loopback) or unix:PATH."

// exportFlags are those of the commands that show descriptors.
func exportFlags() []cli.Flag {
	return []cli.Flag{
		pathFlag("proto-out-dir", "write what is shown, and what it needs, as .proto files to the folder `DIR`"),
		pathFlag("protoset-out", "write what is shown, and what it needs, as a compiled set to `FILE`"),
	}
}

func (p *program) list(c *cli.Context) error {
	where, names, err := p.targetArguments(c, 1)
	if err != nil {
		return err
	}
	ctx, t, err := p.openTarget(c, where, false)
	if err != nil {
		return err
	}
	defer t.close()
	if len(names) == 0 {
		return p.listServices(ctx, c, t)
	}
	s, err := t.Catalog.Resolve(ctx, reflection.Service, names[0])
	if err != nil {
		return err
	}
	methods := s.Descriptor.(protoreflect.ServiceDescriptor).Methods() //nolint:errcheck // as asked for
	var lines []string
	for i := range methods.Len() {
		lines = append(lines, string(methods.Get(i).FullName()))
	}
	p.printList(lines, "(No methods)")
	return export(c, []protoreflect.Descriptor{s.Descriptor})
}

func (p *program) listServices(ctx context.Context, c *cli.Context, t *target) error {
	services, err := t.Catalog.Services(ctx)
	if err != nil {
		return err
	}
	p.printList(services, "(No services)")
	if c.Path("proto-out-dir") == "" && c.Path("protoset-out") == "" {
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
	return export(c, symbols)
}

func (p *program) printList(lines []string, none string) {
	slices.Sort(lines)
	if len(lines) == 0 {
		lines = []string{none}
	}
	for _, line := range lines {
		fmt.Fprintln(p.stdout, line)
	}
}

// targetArguments tells the TARGET from up to most other arguments; a negative most
// is no limit. Behind --accept there is no TARGET.
func (p *program) targetArguments(c *cli.Context, most int) (where string, rest []string, err error) {
	args, err := p.arguments(c, c.NArg())
	if err != nil {
		return "", nil, err
	}
	if len(args) > 0 && isTarget(args[0]) {
		where, args = args[0], args[1:]
	}
	if where != "" && typed(c, "accept") {
		return "", nil, usagef("both --accept %s and the TARGET %s: a session either comes or is dialed", c.String("accept"), redact(where))
	}
	if most >= 0 && len(args) > most {
		if where == "" && len(args) == most+1 {
			return "", nil, &usageError{err: fmt.Errorf("%q is no TARGET", args[0]), hint: "want the URL of a WebSocket, or host:port or unix:PATH of a gRPC server"}
		}
		return "", nil, usagef("unexpected argument %q", redact(args[most]))
	}
	return where, args, nil
}
