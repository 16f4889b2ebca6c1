package backend

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
)

// Descriptors are the values of the flags --proto, --import-path and --protoset.
type Descriptors struct {
	Protos, ImportPaths, Protosets []string
}

// TraceFlags returns the flags for a trace's own descriptors.
func (d *Descriptors) TraceFlags() []cli.Flag {
	return []cli.Flag{
		usage.Strings(&d.Protos, "proto", "trace messages with the source `FILE`; repeatable (default: the server's reflection)"),
		usage.Strings(&d.ImportPaths, "import-path", "look for --proto files and their imports in `DIR`; repeatable (default: the current folder)"),
		usage.Strings(&d.Protosets, "protoset", "trace messages with the compiled `FILE`; repeatable"),
	}
}

// Load loads the descriptors; nil if there are none.
func (d *Descriptors) Load() (*reflection.Set, error) {
	switch {
	case len(d.Protos) > 0 && len(d.Protosets) > 0:
		return nil, usage.Errorf("both --proto and --protoset: give one of them")
	case len(d.Protos) > 0:
		set, err := reflection.LoadProtos(d.Protos, d.ImportPaths)
		if me, ok := errors.AsType[*reflection.MissingError](err); ok {
			return nil, &usage.Error{Err: fmt.Errorf("--proto: %w", err), Advice: "name the folder that " + me.Name + " is below with --import-path"}
		}
		if err != nil {
			return nil, usage.Errorf("--proto: %w", err)
		}
		return set, nil
	case len(d.Protosets) > 0:
		set, err := reflection.LoadProtosets(d.Protosets)
		if err != nil {
			return nil, usage.Errorf("--protoset: %w", err)
		}
		return set, nil
	case len(d.ImportPaths) > 0:
		return nil, usage.Errorf("--import-path without --proto")
	}
	return nil, nil //nolint:nilnil // no flags, no error
}
