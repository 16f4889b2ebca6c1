package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
)

func (p *program) versionCommand() *cli.Command {
	o := &versionOptions{}
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "wstun version [flags]",
		Flags: []cli.Flag{
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: an object with the commit", "text"),
		},
		Action: action(p, o, func(_ context.Context, o *versionOptions) error {
			if o.output == "json" {
				return json.NewEncoder(p.stdout).Encode(build())
			}
			p.printVersion()
			return nil
		}),
	}
}

// versionOptions are the values of the command line of wstun version.
type versionOptions struct{ output string }

func (o *versionOptions) parse(in *invocation) error {
	if _, err := in.arguments(0); err != nil {
		return err
	}
	return usage.OneOf("output", o.output, "text", "json")
}

func (p *program) printVersion() {
	fmt.Fprintf(p.stdout, "wstun %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version returns the version that the go command recorded in the binary: a tag, or a
// pseudo-version with the commit.
func version() string { return build().Version }

// buildInfo describes the binary.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"` // absent if built without a repository
	Time     string `json:"time,omitempty"`   // of the commit
	Modified bool   `json:"modified"`         // built with changes that aren't in the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func build() buildInfo {
	b := buildInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
