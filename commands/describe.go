package commands

import (
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

func (p *program) describeCommand() *cli.Command {
	return &cli.Command{
		Name:      "describe",
		Usage:     "describe services, methods, messages and other symbols as proto source",
		ArgsUsage: "[TARGET] [SYMBOL…]",
		UsageText: "wstun describe [flags] [TARGET] [SYMBOL…]",
		Description: targetDescription + "\n\n" +
			"SYMBOL is the full name of anything that a .proto file defines, or the end of it, as long\n" +
			"as it's plain which one is meant. Without any, all services are described; without a\n" +
			"TARGET, what is in --proto or --protoset.",
		Flags: slices.Concat([]cli.Flag{
			boolFlag("msg-template", "show each message filled in, too, to begin a request with"),
			stringFlag("format", "write templates as `FORMAT`: json or text", "json"),
		}, exportFlags(), targetFlags()),
		Action: p.describe,
	}
}

func (p *program) describe(c *cli.Context) error {
	where, names, err := p.targetArguments(c, -1)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	ctx, t, err := p.openTarget(c, where, false)
	if err != nil {
		return err
	}
	defer t.close()
	kind := reflection.Any
	if len(names) == 0 {
		if names, err = t.Catalog.Services(ctx); err != nil {
			return err
		}
		kind = reflection.Service
	}
	if len(names) == 0 {
		fmt.Fprintln(p.stdout, "Server returned an empty list of exposed services")
	}
	var symbols []protoreflect.Descriptor
	for _, name := range names {
		s, err := t.Catalog.Resolve(ctx, kind, name)
		if err != nil {
			return err
		}
		if err := p.describeOne(c, s.Descriptor); err != nil {
			return err
		}
		symbols = append(symbols, s.Descriptor)
	}
	return export(c, symbols)
}

func (p *program) describeOne(c *cli.Context, symbol protoreflect.Descriptor) error {
	d, err := reflection.Describe(symbol)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s is %s:\n%s\n", d.Name, d.Kind, d.Text)
	md, ok := symbol.(protoreflect.MessageDescriptor)
	if !ok || !c.Bool("msg-template") || d.Kind != "a message" {
		return nil
	}
	template, err := reflection.Template(md, c.String("format"))
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\nMessage template:\n%s\n", template)
	return nil
}

func checkFormat(c *cli.Context) error {
	if format := c.String("format"); format != "json" && format != "text" {
		return usagef("--format %q: want json or text", format)
	}
	return nil
}

// export writes symbols to where the flags say.
func export(c *cli.Context, symbols []protoreflect.Descriptor) error {
	if path := c.Path("protoset-out"); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("--protoset-out: %w", err)
		}
		err = reflection.WriteProtoset(file, symbols...)
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("--protoset-out %s: %w", path, err)
		}
	}
	if dir := c.Path("proto-out-dir"); dir != "" {
		if err := reflection.WriteProtos(dir, symbols...); err != nil {
			return fmt.Errorf("--proto-out-dir %s: %w", dir, err)
		}
	}
	return nil
}
