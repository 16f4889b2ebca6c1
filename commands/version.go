package commands

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "wstun version",
		Action: p.action(func(_ context.Context, in *invocation) error {
			if _, err := in.arguments(0); err != nil {
				return err
			}
			p.printVersion()
			return nil
		}),
	}
}

func (p *program) printVersion() {
	fmt.Fprintf(p.stdout, "wstun %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version returns the version that the go command recorded in the binary: a tag, or a
// pseudo-version with the commit.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
